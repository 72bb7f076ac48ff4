//! What the probe is told to do, and what it reports. Orders come as a person's message, reports leave as a model request:
//! so nothing is needed that an agent would not have.

use crate::gate::TestGate;
use crate::person::Person;
use serde_json::{Value, json};

/// A conversation with a probe in place of an agent.
pub struct Probe {
    person: Person,
    conversation: String,
}

/// Marks a report among the requests that the provider got.
pub(crate) const REPORT: &str = "probe-report";

impl Probe {
    /// A new conversation; its first orders start the probe.
    pub async fn new(person: Person) -> Self {
        let conversation = person.conversation().await;
        Self { person, conversation }
    }

    /// The same with another app than the map.
    pub async fn of(person: Person, app: &str) -> Self {
        let conversation = person.conversation_with(&json!({"app": app})).await;
        Self { person, conversation }
    }

    /// Gives orders and returns what came of each. Orders with `"late": true` are carried out after the run is over; what
    /// came of them stands in the next report, before the others.
    pub async fn tell(&self, gate: &TestGate, orders: Value) -> Vec<Value> {
        self.tell_with(gate, orders, true).await
    }

    /// The same with the switch for changes.
    pub async fn tell_with(&self, gate: &TestGate, orders: Value, writes: bool) -> Vec<Value> {
        let name = format!("{REPORT}-{}", gate.fake.requests().len());
        let events = self.events(&json!({"report": name, "orders": orders}), writes).await;
        let end = events.last().unwrap();
        assert_eq!(end["outcome"], "finished", "{events:?}");
        let bodies: Vec<_> = gate.fake.requests().into_iter().map(|exchange| exchange.body).collect();
        found(&bodies, &name).unwrap_or_else(|| panic!("no report {name}: {events:?}"))
    }

    /// Gives orders and returns the run's events.
    pub async fn events(&self, message: &Value, writes: bool) -> Vec<Value> {
        self.person.run(&self.conversation, &message.to_string(), writes).await
    }
}

/// The report of a name among request bodies.
pub(crate) fn found(bodies: &[bytes::Bytes], name: &str) -> Option<Vec<Value>> {
    bodies.iter().rev().find_map(|body| {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = body["messages"][0]["content"].as_str()?;
        let report: Value = serde_json::from_str(text.strip_prefix(name)?).ok()?;
        report.as_array().cloned()
    })
}

/// Written backwards, so that whoever carries the order to look for something does not find the order itself.
#[must_use]
pub fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}
