//! May this be undone? From a journaled call, who asks and the app's present manifest to a permit or a denial.

use crate::{CallId, Denial, DenialCode, Manifest, RunId, UserId};

/// Which of the two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What a call did is taken back.
    Undo,
    /// What was taken back is done again.
    Redo,
}

/// Who has something undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoneBy {
    /// Whose it is.
    Person,
    /// The operator, at the gateway's own machine.
    Operator,
}

impl UndoneBy {
    /// As it stands in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Operator => "operator",
        }
    }
}

/// A call of an agent's, and the call by which its app said that it can be undone (or, after that, done again).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// The agent's call.
    pub call: CallId,
    /// Its run.
    pub run: RunId,
    /// Whose it is.
    pub user: UserId,
    /// The app.
    pub app: String,
    /// The tool that the agent called.
    pub tool: String,
    /// The tool to call.
    pub inverse: String,
}

/// Permission to undo one call, used up by `store.begin_undo`.
#[derive(Debug)]
pub struct UndoPermit {
    way: WayBack,
    direction: Direction,
    by: UndoneBy,
}

impl UndoPermit {
    /// What is permitted.
    #[must_use]
    pub const fn way(&self) -> &WayBack {
        &self.way
    }
    /// Which way.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }
    /// For whom.
    #[must_use]
    pub const fn by(&self) -> UndoneBy {
        self.by
    }
}

/// Decides about an undo by what holds now: it is the user's own, and the operator's manifest pairs the two tools still.
///
/// # Errors
/// The [`Denial`] to answer with.
pub fn admit_undo(
    way: WayBack,
    user: UserId,
    manifest: &Manifest,
    direction: Direction,
    by: UndoneBy,
) -> Result<UndoPermit, Denial> {
    let paired = manifest.inverse_of(&way.tool) == Some(way.inverse.as_str());
    if !paired || way.user != user || way.app != manifest.id {
        return Err(Denial::new(DenialCode::UndoInverse, &way.tool));
    }
    Ok(UndoPermit { way, direction, by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_one_s_own_and_paired_today_is_undone() {
        let text = "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n\
                    [tools.change]\neffect='write'\ninverse='undo'\n[tools.other]\neffect='write'\n";
        let manifest = Manifest::parse(text).expect("a manifest");
        let user = UserId::random();
        let way = |tool: &str, inverse: &str| WayBack {
            call: CallId::random(),
            run: RunId::random(),
            user,
            app: "a".to_owned(),
            tool: tool.to_owned(),
            inverse: inverse.to_owned(),
        };
        let code = |way: WayBack, user| {
            admit_undo(way, user, &manifest, Direction::Undo, UndoneBy::Person).map(|_| ()).map_err(|denial| denial.code)
        };
        assert_eq!(code(way("change", "undo"), user), Ok(()));
        let refused = Err(DenialCode::UndoInverse);
        assert_eq!(code(way("change", "undo"), UserId::random()), refused, "somebody else's");
        for (tool, inverse) in [("change", "other"), ("other", "undo"), ("gone", "undo"), ("undo", "undo"), ("change", "change")]
        {
            assert_eq!(code(way(tool, inverse), user), refused, "{tool} {inverse}");
        }
        assert_eq!(code(WayBack { app: "b".to_owned(), ..way("change", "undo") }, user), refused, "another app's");
    }
}
