//! The calls that the model asked for in one run: each is carried out once, as it was said. Whoever repeats it, as a client does that
//! lost the answer, gets what came of it, and waits for that where it is not there yet.

use crate::mcp::front::HostError;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use tokio::sync::watch;

/// Calls remembered of one run.
const EMITTED_MAX: usize = 4096;
/// Bytes of answers kept of one run; the oldest are forgotten first, and then their calls are merely used up.
const ANSWERS_BYTES_MAX: usize = 4 << 20;

/// What came of a call.
pub(crate) type Came = Result<Value, HostError>;

/// What the model asked for.
#[derive(Default)]
pub(crate) struct Emissions(Mutex<State>);

#[derive(Default)]
struct State {
    calls: HashMap<String, Emitted>,
    /// Whose answers are kept, the oldest first, with their bytes.
    kept: VecDeque<(String, usize)>,
    kept_bytes: usize,
}

/// A call the model asked for in this run.
struct Emitted {
    tool: String,
    /// As the model said them; what the agent sends only has to mean the same.
    arguments: Value,
    arguments_digest: [u8; 32],
    /// In the conversation that the gateway kept honest; otherwise something in the sandbox may have had it said.
    honest: bool,
    stage: Stage,
}

enum Stage {
    Said,
    /// Somebody carries it out or did. Here is what came of it, once it is there.
    Taken(watch::Receiver<Option<Came>>),
    /// It was carried out, and what came of it is kept no longer.
    UsedUp,
}

/// What a call is that claims to be one that the model asked for.
pub(crate) enum Claim {
    /// It is, and this is its first time.
    First(Said),
    /// It is one that was made already.
    Again(Repeat),
    /// It is none, or not as the model said it.
    Nothing,
}

/// A call as the model said it, to be carried out by whoever holds this.
pub(crate) struct Said {
    pub(crate) arguments: Value,
    pub(crate) honest: bool,
    pub(crate) answering: Answering,
}

/// Owes what comes of a call to whoever repeats it.
pub(crate) struct Answering {
    id: String,
    sender: watch::Sender<Option<Came>>,
}

/// Waits for what comes of a call that somebody else carries out.
pub(crate) struct Repeat(watch::Receiver<Option<Came>>);

impl Repeat {
    /// Exactly what the first one was told.
    pub(crate) async fn answer(mut self) -> Came {
        let lost = || Err(HostError::Uncertain("the call was given up".to_owned()));
        let came = self.0.wait_for(Option::is_some).await.ok().and_then(|came| came.clone());
        came.unwrap_or_else(lost)
    }
}

impl Emissions {
    /// Remembers that the model asked for this call. Invariant: called before the bytes that end the request leave for the agent.
    pub(crate) fn remember(&self, id: &str, tool: &str, arguments: &Value, arguments_digest: [u8; 32], honest: bool) {
        let calls = &mut self.0.lock().calls;
        if calls.len() < EMITTED_MAX {
            let (tool, arguments) = (tool.to_owned(), arguments.clone());
            let call = || Emitted { tool, arguments, arguments_digest, honest, stage: Stage::Said };
            calls.entry(id.to_owned()).or_insert_with(call);
        }
    }

    /// Takes an emission: the first time only, and only for the same tool with the same arguments.
    pub(crate) fn claim(&self, id: &str, tool: &str, arguments_digest: &[u8; 32]) -> Claim {
        let mut state = self.0.lock();
        let Some(call) = state.calls.get_mut(id) else { return Claim::Nothing };
        if call.tool != tool || call.arguments_digest != *arguments_digest {
            return Claim::Nothing;
        }
        match &call.stage {
            Stage::UsedUp => Claim::Nothing,
            Stage::Taken(came) => Claim::Again(Repeat(came.clone())),
            Stage::Said => {
                let (sender, came) = watch::channel(None);
                call.stage = Stage::Taken(came);
                let answering = Answering { id: id.to_owned(), sender };
                Claim::First(Said { arguments: std::mem::take(&mut call.arguments), honest: call.honest, answering })
            }
        }
    }

    /// What came of a call, for whoever repeats it.
    pub(crate) fn answered(&self, answering: Answering, came: &Came) {
        let Answering { id, sender } = answering;
        sender.send_replace(Some(came.clone()));
        let bytes = came.as_ref().map_or(0, |result| result.to_string().len());
        let state = &mut *self.0.lock();
        state.kept.push_back((id, bytes));
        state.kept_bytes = state.kept_bytes.saturating_add(bytes);
        while state.kept_bytes > ANSWERS_BYTES_MAX
            && let Some((oldest, bytes)) = state.kept.pop_front()
        {
            state.kept_bytes = state.kept_bytes.saturating_sub(bytes);
            if let Some(call) = state.calls.get_mut(&oldest) {
                call.stage = Stage::UsedUp;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn first(claim: Claim) -> Said {
        match claim {
            Claim::First(said) => said,
            Claim::Again(_) => panic!("it was made before"),
            Claim::Nothing => panic!("the model did not say it"),
        }
    }

    fn again(claim: Claim) -> Repeat {
        match claim {
            Claim::Again(repeat) => repeat,
            Claim::First(_) => panic!("it would be made twice"),
            Claim::Nothing => panic!("the model did not say it"),
        }
    }

    fn is_nothing(claim: &Claim) -> bool {
        matches!(claim, Claim::Nothing)
    }

    #[tokio::test]
    async fn an_emission_is_carried_out_once_and_only_as_it_was() {
        let run = Emissions::default();
        let said = json!({"a": 9_007_199_254_740_993_u64});
        run.remember("t1", "add", &said, [1; 32], true);
        run.remember("t1", "delete", &Value::Null, [2; 32], true);
        assert!(is_nothing(&run.claim("t1", "delete", &[2; 32])), "the first word stands");
        assert!(is_nothing(&run.claim("t1", "add", &[2; 32])) && is_nothing(&run.claim("t2", "add", &[1; 32])));
        let one = first(run.claim("t1", "add", &[1; 32]));
        assert_eq!((&one.arguments, one.honest), (&said, true), "as the model said it");
        let waiting = tokio::spawn(again(run.claim("t1", "add", &[1; 32])).answer());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "nothing came of it yet");
        assert!(is_nothing(&run.claim("t1", "add", &[2; 32])), "also while it goes on");
        let came = Ok(json!({"content": []}));
        run.answered(one.answering, &came);
        assert_eq!(waiting.await.expect("it ends").expect("an answer"), json!({"content": []}));
        let later = again(run.claim("t1", "add", &[1; 32])).answer().await;
        assert_eq!(later.expect("an answer"), json!({"content": []}));
        assert!(is_nothing(&run.claim("t1", "add", &[2; 32])) && is_nothing(&run.claim("t1", "delete", &[1; 32])));
    }

    #[tokio::test]
    async fn a_refusal_is_repeated_and_what_was_given_up_is_uncertain() {
        let run = Emissions::default();
        run.remember("t1", "add", &json!({}), [1; 32], true);
        run.remember("t2", "add", &json!({}), [1; 32], true);
        let one = first(run.claim("t1", "add", &[1; 32]));
        run.answered(one.answering, &Err(HostError::Denied { code: "tool.held", message: "No." }));
        let told = again(run.claim("t1", "add", &[1; 32])).answer().await;
        assert!(matches!(told, Err(HostError::Denied { code: "tool.held", .. })), "{told:?}");
        drop(first(run.claim("t2", "add", &[1; 32])));
        let told = again(run.claim("t2", "add", &[1; 32])).answer().await;
        assert!(matches!(told, Err(HostError::Uncertain(_))), "{told:?}");
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_forgotten_is_never_made_again() {
        let run = Emissions::default();
        let large: Came = Ok(json!({"content": "x".repeat(ANSWERS_BYTES_MAX / 4)}));
        for number in 0..10 {
            let id = format!("t{number}");
            run.remember(&id, "add", &json!({}), [1; 32], true);
            let said = first(run.claim(&id, "add", &[1; 32]));
            run.answered(said.answering, &large);
        }
        let kept = |id: &str| matches!(run.claim(id, "add", &[1; 32]), Claim::Again(_));
        assert!(kept("t9") && kept("t7") && !kept("t0") && !kept("t5"));
        assert!(is_nothing(&run.claim("t0", "add", &[1; 32])), "it stays used up");
        assert!(run.0.lock().kept_bytes <= ANSWERS_BYTES_MAX);
    }
}
