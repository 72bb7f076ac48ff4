//! What people's agents do with their tools, judged as it happens (`policy::Behaviour`): whoever does unusually much is slowed down,
//! then the person is asked whether it shall go on, then the run is stopped. A person's own client is not asked anything: it is slowed
//! down, then refused until it has been quiet for long enough.
//!
//! The question is put to the person's own page. An answer is worth something because of three things that an agent does not have:
//! the session, a moment in which somebody could have read the question, and some work of the browser's.

use crate::context::RunContext;
use crate::{Proxy, RunEvent};
use parking_lot::Mutex;
use policy::{
    Act, AuditEvent, Behaviour, BehaviourRules, ChallengeId, Conduct, Denial, DenialCode, Judged, RunId, Timestamp, ToolClass,
    ToolEffect, UserId, digest_bytes,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use store::RateError;
use tokio::sync::watch;

/// People who are remembered. Those of whom nothing is left are forgotten first, then those who do nothing unusual.
const PEOPLE_MAX: usize = 20_000;
/// How long an answer is waited for. Agents give up a tool after a minute.
const ANSWER_WAIT: Duration = Duration::from_secs(45);
/// Nobody has read it before.
const READING_TIME: Duration = Duration::from_millis(700);
/// About a sixteen-thousandth of all numbers fit: a fraction of a second of a browser's time.
const WORK_BITS: u32 = 14;
const NONCE_BYTES_MAX: usize = 32;

/// What everybody's agents did lately.
#[derive(Default)]
pub(crate) struct Behaviours {
    people: Mutex<HashMap<UserId, Person>>,
}

#[derive(Default)]
struct Person {
    behaviour: Behaviour,
    question: Option<Question>,
}

/// One that is open; all of a person's calls wait for the same.
struct Question {
    id: ChallengeId,
    run: RunId,
    since: Instant,
    answer: watch::Sender<Option<bool>>,
}

/// What came of an answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is taken.
    Taken,
    /// There is no such question, or not any more, or not to this person.
    NoQuestion,
    /// It came sooner than anybody can have read the question.
    TooSoon,
    /// The work was not done.
    NoWork,
}

impl Behaviours {
    fn note(&self, user: UserId, act: Act, rules: &BehaviourRules, now: Timestamp) -> Judged {
        let mut people = self.people.lock();
        if people.len() >= PEOPLE_MAX && !people.contains_key(&user) {
            forget_some(&mut people, rules, now);
        }
        people.entry(user).or_default().behaviour.note(act, rules, now)
    }

    /// How long somebody has to do nothing until they are not suspicious any more.
    fn calms_in(&self, user: UserId, rules: &BehaviourRules, now: Timestamp) -> Duration {
        self.people.lock().get(&user).map_or(Duration::ZERO, |person| person.behaviour.calms_in(rules, now))
    }

    /// The question that is open, or a new one. True if it is new.
    fn ask(&self, user: UserId, run: RunId) -> (ChallengeId, watch::Receiver<Option<bool>>, bool) {
        let mut people = self.people.lock();
        let person = people.entry(user).or_default();
        if let Some(open) = &person.question {
            return (open.id, open.answer.subscribe(), false);
        }
        let (answer, receiver) = watch::channel(None);
        let id = ChallengeId::random();
        person.question = Some(Question { id, run, since: Instant::now(), answer });
        (id, receiver, true)
    }

    fn answer(&self, user: UserId, run: RunId, id: ChallengeId, nonce: &str, goes_on: bool) -> Answered {
        let mut people = self.people.lock();
        let Some(person) = people.get_mut(&user) else { return Answered::NoQuestion };
        let Some(open) = person.question.as_ref().filter(|open| open.id == id && open.run == run) else {
            return Answered::NoQuestion;
        };
        // Nobody has to prove anything to have it stopped.
        if goes_on && open.since.elapsed() < READING_TIME {
            return Answered::TooSoon;
        }
        if goes_on && !worked(id, nonce) {
            return Answered::NoWork;
        }
        open.answer.send_replace(Some(goes_on));
        person.question = None;
        if goes_on {
            person.behaviour.forgive();
        }
        Answered::Taken
    }

    /// Nobody answered. Whoever waits for it is told by its sender's end.
    fn give_up(&self, user: UserId, id: ChallengeId) {
        if let Some(person) = self.people.lock().get_mut(&user)
            && person.question.as_ref().is_some_and(|open| open.id == id)
        {
            person.question = None;
        }
    }
}

fn forget_some(people: &mut HashMap<UserId, Person>, rules: &BehaviourRules, now: Timestamp) {
    people.retain(|_, person| person.question.is_some() || !person.behaviour.is_forgotten(rules, now));
    if people.len() >= PEOPLE_MAX {
        people.retain(|_, person| person.question.is_some() || person.behaviour.conduct(rules, now) > Conduct::Usual);
    }
}

/// Whether the digest of both begins with so many zero bits.
fn worked(id: ChallengeId, nonce: &str) -> bool {
    if nonce.len() > NONCE_BYTES_MAX {
        return false;
    }
    let [a, b, c, d, ..] = digest_bytes(format!("{id}:{nonce}").as_bytes());
    u32::from_be_bytes([a, b, c, d]).leading_zeros() >= WORK_BITS
}

/// What a call of a tool is, by the operator's word.
pub(crate) const fn act_of(class: ToolClass) -> Act {
    match (class.effect, class.destructive) {
        (ToolEffect::Read, _) => Act::Read,
        (ToolEffect::Write, false) => Act::Write,
        (ToolEffect::Write, true) => Act::Destroy,
    }
}

impl Proxy {
    /// Counts a tool call, and waits with it as long as what this person's agents do makes advisable.
    pub(crate) async fn pace_tool(&self, run: &RunContext, act: Act) -> Result<(), Denial> {
        self.count_tool(run.user).await?;
        let judged = self.judge(run, act).await;
        match judged.conduct {
            Conduct::Usual => Ok(()),
            Conduct::Hasty => {
                tokio::time::sleep(judged.wait).await;
                Ok(())
            }
            Conduct::Suspicious => self.ask_to_go_on(run).await,
            Conduct::Hostile => Err(Denial::new(DenialCode::BehaviourHostile, judged.conduct.as_str())),
        }
    }

    /// A refusal counts too, but waits for nothing.
    pub(crate) async fn judge(&self, run: &RunContext, act: Act) -> Judged {
        let judged = self.judge_in(&self.behaviours, run.run, run.user, act).await;
        if judged.conduct == Conduct::Hostile {
            run.stop_for(DenialCode::BehaviourHostile);
        }
        judged
    }

    /// The same for a call of a person's own client, which stands in a window in the place of a run. It has a score of its own: a key
    /// that somebody stole stops nobody's agent.
    pub(crate) async fn judge_client(&self, window: RunId, user: UserId, act: Act) -> Judged {
        self.judge_in(&self.client_behaviours, window, user, act).await
    }

    async fn judge_in(&self, behaviours: &Behaviours, run: RunId, user: UserId, act: Act) -> Judged {
        let judged = behaviours.note(user, act, &self.behaviour_rules(), self.clock.now());
        if judged.rose {
            let conduct = judged.conduct.as_str();
            tracing::warn!(%run, %user, conduct, "somebody's agent or client does unusually much");
            self.record(AuditEvent::ConductRose { run, user, conduct }).await;
        }
        judged
    }

    /// Waits with a client's call as long as what it does makes advisable. Nobody is asked: whoever holds the key need not be the
    /// person.
    pub(crate) async fn pace_client(&self, window: RunId, user: UserId, act: Act) -> Result<(), Denial> {
        let judged = self.judge_client(window, user, act).await;
        match judged.conduct {
            Conduct::Usual => Ok(()),
            Conduct::Hasty => {
                tokio::time::sleep(judged.wait).await;
                Ok(())
            }
            Conduct::Suspicious | Conduct::Hostile => Err(Denial::new(DenialCode::BehaviourClient, judged.conduct.as_str())),
        }
    }

    /// How long a person's clients have to be quiet before they are answered again.
    pub(crate) fn client_calms_in(&self, user: UserId) -> Duration {
        self.client_behaviours.calms_in(user, &self.behaviour_rules(), self.clock.now())
    }

    /// A gateway that counts nothing judges nothing.
    fn behaviour_rules(&self) -> BehaviourRules {
        self.rates.as_ref().map_or_else(BehaviourRules::indifferent, |pacing| pacing.rules.behaviour)
    }

    async fn count_tool(&self, user: UserId) -> Result<(), Denial> {
        let Some(pacing) = &self.rates else { return Ok(()) };
        match pacing.rates.admit(vec![pacing.rules.of_tool_call(user)], self.clock.now()).await {
            Ok(_) => Ok(()),
            Err(RateError::Refused(refusal)) => {
                Err(Denial::new(refusal.code, &format!("again in {} s", refusal.retry_after_secs())))
            }
            Err(RateError::Store(error)) => {
                tracing::error!(%error, "a tool call's rate could not be looked up, so it was refused");
                Err(Denial::new(DenialCode::RateTools, "the rate is not known"))
            }
        }
    }

    async fn ask_to_go_on(&self, run: &RunContext) -> Result<(), Denial> {
        // Whoever comes after the answer asks no second time.
        if run.has_to_stop() {
            return Err(Denial::new(DenialCode::BehaviourUnconfirmed, "the run is being stopped"));
        }
        let (challenge, mut answer, new) = self.behaviours.ask(run.user, run.run);
        if new {
            run.tell(RunEvent::Challenged { challenge, bits: WORK_BITS }).await;
        }
        let over = run.over();
        let said = tokio::select! {
            said = tokio::time::timeout(ANSWER_WAIT, answer.wait_for(Option::is_some)) => said.ok().and_then(Result::ok).and_then(|said| *said),
            () = over.cancelled() => None,
        };
        if said == Some(false) {
            run.stop_for(DenialCode::BehaviourUnconfirmed);
        }
        if new {
            self.behaviours.give_up(run.user, challenge);
            self.record(AuditEvent::ChallengeEnded { run: run.run, user: run.user, goes_on: said }).await;
            run.tell(RunEvent::ChallengeEnded { challenge, goes_on: said == Some(true) }).await;
        }
        match said {
            Some(true) => Ok(()),
            Some(false) => Err(Denial::new(DenialCode::BehaviourUnconfirmed, "the person said no")),
            None => Err(Denial::new(DenialCode::BehaviourUnconfirmed, "nobody answered")),
        }
    }

    /// A person's answer to the question whether a run of theirs shall go on.
    #[must_use]
    pub fn answer_challenge(&self, user: UserId, run: RunId, challenge: ChallengeId, nonce: &str, goes_on: bool) -> Answered {
        self.behaviours.answer(user, run, challenge, nonce, goes_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BehaviourRules = BehaviourRules { wait_max: Duration::ZERO, ..BehaviourRules::USUAL };

    fn nonce(id: ChallengeId) -> String {
        (0..10_000_000).map(|number: u32| number.to_string()).find(|nonce| worked(id, nonce)).expect("there are many")
    }

    #[test]
    fn only_who_was_asked_can_answer_and_once() {
        let behaviours = Behaviours::default();
        let (user, run) = (UserId::random(), RunId::random());
        let (id, mut answer, new) = behaviours.ask(user, run);
        assert!(new && !behaviours.ask(user, run).2, "everybody waits for the same");
        let nonce = nonce(id);
        assert_eq!(behaviours.answer(user, run, id, &nonce, true), Answered::TooSoon);
        std::thread::sleep(READING_TIME);
        for (user, run, id) in [(UserId::random(), run, id), (user, RunId::random(), id), (user, run, ChallengeId::random())] {
            assert_eq!(behaviours.answer(user, run, id, &nonce, true), Answered::NoQuestion);
        }
        for bad in ["", "x", &"1".repeat(40)] {
            assert_eq!(behaviours.answer(user, run, id, bad, true), Answered::NoWork, "{bad}");
        }
        assert_eq!(*answer.borrow_and_update(), None);
        assert_eq!(behaviours.answer(user, run, id, &nonce, true), Answered::Taken);
        assert_eq!(*answer.borrow_and_update(), Some(true));
        assert_eq!(behaviours.answer(user, run, id, &nonce, true), Answered::NoQuestion, "it is used up");
    }

    #[test]
    fn a_no_needs_no_proof_and_a_question_that_is_given_up_is_over() {
        let behaviours = Behaviours::default();
        let (user, run) = (UserId::random(), RunId::random());
        let (id, mut answer, _) = behaviours.ask(user, run);
        assert_eq!(behaviours.answer(user, run, id, "", false), Answered::Taken);
        assert_eq!(*answer.borrow_and_update(), Some(false));
        let (second, answer, new) = behaviours.ask(user, run);
        assert!(new && second != id);
        behaviours.give_up(user, id);
        assert!(!behaviours.ask(user, run).2, "another one's end does not end it");
        behaviours.give_up(user, second);
        assert!(answer.has_changed().is_err(), "whoever waits is told");
        assert_eq!(behaviours.answer(user, run, second, &nonce(second), true), Answered::NoQuestion);
    }

    #[test]
    fn a_score_is_a_persons_and_remembering_is_bounded() {
        let behaviours = Behaviours::default();
        let now = Timestamp(1_000_000);
        let (one, other) = (UserId::random(), UserId::random());
        for _ in 0..250 {
            behaviours.note(one, Act::Read, &RULES, now);
        }
        assert_eq!(behaviours.note(one, Act::Read, &RULES, now).conduct, Conduct::Hostile);
        assert_eq!(behaviours.note(other, Act::Read, &RULES, now).conduct, Conduct::Usual, "somebody else's is another one");
        for _ in 0..PEOPLE_MAX + 10 {
            behaviours.note(UserId::random(), Act::Read, &RULES, now);
        }
        assert!(behaviours.people.lock().len() <= PEOPLE_MAX);
        assert_eq!(behaviours.note(one, Act::Read, &RULES, now).conduct, Conduct::Hostile, "who is remarkable is not forgotten");
    }
}
