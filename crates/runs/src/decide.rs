//! A person's answer to a question, and who hears of it.

use crate::{DecideError, Decided, EventBody, Runs};
use policy::{ConfirmationId, UserId};
use std::sync::Arc;

impl Runs {
    /// Takes a person's answer to a question. A yes is carried out, also when nobody waits for it any more, and the run hears of
    /// it while it goes on.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn decide(self: &Arc<Self>, user: UserId, id: ConfirmationId, approve: bool) -> Result<Decided, DecideError> {
        let runs = Arc::clone(self);
        let deciding = self.tasks.spawn(async move {
            let app_of = |app: &str| runs.parts.apps.get(app).map(|app| Arc::clone(&app.app));
            let decided = proxy::confirm::decide(&runs.parts.proxy, app_of, user, id, approve).await?;
            let Decided { confirmation, text } = &decided;
            if let Some(live) = runs.live.lock().get(&confirmation.run) {
                let (call_id, state) = (confirmation.tool_use_id.clone(), confirmation.state.as_str());
                live.feed.push(EventBody::ConfirmationEnded { id, call_id, state, result: text.clone() });
            }
            Ok(decided)
        });
        deciding.await.map_err(|_| DecideError::Task)?
    }
}
