//! The end of everything that is under way for one user.

use crate::{Live, Runs};
use policy::UserId;
use std::time::Duration;

impl Runs {
    /// Ends everything of a user's here: runs are stopped and waited for, agents at rest destroyed, and nothing that was shown is kept.
    /// False if a run did not end in time.
    pub async fn end_all_of(&self, user: UserId, wait: Duration) -> bool {
        let theirs: Vec<Live> = self.live.lock().values().filter(|live| live.user == user).cloned().collect();
        theirs.iter().for_each(|live| live.stop.cancel());
        let ended = async {
            for live in &theirs {
                // Nothing comes after the last number there can be but the end.
                live.feed.after(u64::MAX).await;
            }
        };
        let in_time = tokio::time::timeout(wait, ended).await.is_ok();
        self.agents.forget(user).await;
        self.live.lock().retain(|_, live| live.user != user || !live.feed.is_ended());
        in_time
    }
}
