//! Routes as values: the router is built from them, and what the document says of each is compared with them.

use crate::Shared;
use crate::hosts::{Entry, admit, keyed, ticket_door};
use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use policy::HostAction;
use std::sync::Arc;

/// What a request must show to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// A service key that is for this, and an assertion.
    Host(HostAction),
    /// The same to read, or a ticket.
    Ticket,
    /// A service key.
    Key,
    /// Nothing: browsers ask here what they may show.
    Preflight,
}

impl Door {
    /// What a key must be for; none where any will do, or none is needed.
    pub(super) const fn action(self) -> Option<HostAction> {
        match self {
            Self::Host(action) => Some(action),
            Self::Ticket => Some(HostAction::Read),
            Self::Key | Self::Preflight => None,
        }
    }
}

impl From<HostAction> for Door {
    fn from(action: HostAction) -> Self {
        Self::Host(action)
    }
}

/// One method at one path.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) door: Door,
    answer: MethodRouter<Shared>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Routes(pub(super) Vec<Route>);

impl Routes {
    pub(super) fn get<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, door: impl Into<Door>, handler: H) -> Self {
        self.add((Method::GET, MethodFilter::GET), path, door.into(), handler)
    }

    pub(super) fn post<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, door: impl Into<Door>, handler: H) -> Self {
        self.add((Method::POST, MethodFilter::POST), path, door.into(), handler)
    }

    pub(super) fn delete<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, door: impl Into<Door>, handler: H) -> Self {
        self.add((Method::DELETE, MethodFilter::DELETE), path, door.into(), handler)
    }

    pub(super) fn options<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        door: impl Into<Door>,
        handler: H,
    ) -> Self {
        self.add((Method::OPTIONS, MethodFilter::OPTIONS), path, door.into(), handler)
    }

    fn add<H: Handler<T, Shared>, T: 'static>(
        mut self,
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        door: Door,
        handler: H,
    ) -> Self {
        self.0.push(Route { method, path, door, answer: on(filter, handler) });
        self
    }

    /// The router, with each route behind its door.
    pub(super) fn router(self, web: &Shared) -> Router<Shared> {
        self.0.into_iter().fold(Router::new(), |router, Route { path, door, answer, .. }| {
            let web = Arc::clone(web);
            let answer = match door {
                Door::Host(action) => answer.route_layer(from_fn_with_state(Entry { web, action }, admit)),
                Door::Ticket => answer.route_layer(from_fn_with_state(web, ticket_door)),
                Door::Key => answer.route_layer(from_fn_with_state(web, keyed)),
                Door::Preflight => answer,
            };
            router.route(path, answer)
        })
    }
}
