//! Apps as runs need them, by themselves and with each of their skills.

use policy::Standing;
use proxy::App;
use std::sync::Arc;

/// An app as runs need it.
pub struct RunApp {
    /// Its manifest and tools.
    pub app: Arc<App>,
    /// The operator's system prompt.
    pub prompt: String,
}

impl RunApp {
    /// The app, and the app with each of its skills: fewer tools, and the skill's instructions after the prompt.
    #[must_use]
    pub fn with_skills(self) -> Vec<Self> {
        let manifest = &self.app.manifest;
        let narrowed = manifest.skills.iter().filter_map(|(name, skill)| {
            let app = App { manifest: manifest.narrowed(name)?, upstream: self.app.upstream.clone() };
            let prompt = format!("{}\n\n# {}\n\n{}", self.prompt.trim_end(), skill.title, skill.instructions.trim());
            Some(Self { app: Arc::new(app), prompt })
        });
        let mut all: Vec<Self> = narrowed.collect();
        all.push(self);
        all
    }

    /// Whether people of a standing may use it.
    #[must_use]
    pub fn is_for(&self, standing: Standing) -> bool {
        let manifest = &self.app.manifest;
        let skill = manifest.skill.as_ref().and_then(|name| manifest.skills.get(name));
        manifest.skill.is_none() || skill.is_some_and(|skill| skill.is_for(standing))
    }
}
