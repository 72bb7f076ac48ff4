//! What a person does in an app's page with their own hand. No run is in it: it is counted, and then the app's own tool is called.

use crate::Runs;
use policy::{RateRefusal, ToolEffect, UserId};
use proxy::{PersonAnswer, PersonCallError};
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::sync::Arc;
use store::RateError;

/// Why a person's own call of a tool has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// As many as allowed were made.
    #[error("{}", .0.code.sentence())]
    Rate(RateRefusal),
    /// What became of it otherwise.
    #[error(transparent)]
    Call(#[from] PersonCallError),
}

impl Runs {
    /// Calls a tool of an app for a person who does it with their own hand. Changes are counted for the person, look-ups for where they
    /// come from.
    ///
    /// # Errors
    /// [`PersonError`]; one of a lost answer says that nobody knows what became of it.
    pub async fn call_tool(
        &self,
        (user, address): (UserId, Option<IpAddr>),
        app: &str,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<PersonAnswer, PersonError> {
        let Some(app) = self.parts.apps.get(app).map(|known| Arc::clone(&known.app)) else {
            return Err(PersonCallError::Unknown.into());
        };
        let rules = &self.parts.settings.rates;
        let checks = match app.manifest.people.get(tool).map(|rule| rule.effect) {
            Some(ToolEffect::Read) => rules.of_lookup(user, address),
            Some(ToolEffect::Write) | None => rules.of_edit(user),
        };
        match self.parts.rates.admit(checks, self.parts.clock.now()).await {
            Ok(_) => {}
            Err(RateError::Refused(refusal)) => return Err(PersonError::Rate(refusal)),
            Err(RateError::Store(error)) => return Err(PersonCallError::Store(error).into()),
        }
        let (proxy, tool) = (Arc::clone(&self.parts.proxy), tool.to_owned());
        // A task of its own: a page that goes away can't take the journal's second entry with it.
        let call = self.tasks.spawn(async move { proxy.call_for_person(&app, user, &tool, arguments).await });
        Ok(call.await.map_err(|_| PersonCallError::Uncertain)??)
    }
}
