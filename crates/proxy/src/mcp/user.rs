//! For whom a tool server is asked, and how it is told.

pub(crate) const USER_HEADER: &str = "x-hexward-user";
pub(crate) const USER_NAME_HEADER: &str = "x-hexward-user-name";
/// Who asks in the user's name: absent for an agent, `person` for the user's own hand.
pub(crate) const ACTOR_HEADER: &str = "x-hexward-actor";
/// The user's tier, by which a server may bound what it keeps for them.
pub(crate) const TIER_HEADER: &str = "x-hexward-tier";

/// For whom a request is made.
#[derive(Clone, Debug)]
pub struct UserRef {
    /// Their opaque id.
    pub id: String,
    /// What to call them.
    pub name: Option<String>,
    /// Whether the user asks by themselves, and no agent in their name.
    pub in_person: bool,
    /// Their tier.
    pub tier: &'static str,
}

impl UserRef {
    /// A user known by nothing but an id.
    #[must_use]
    pub const fn new(id: String) -> Self {
        Self { id, name: None, in_person: false, tier: crate::ONLY_TIER }
    }

    /// The same user, asking with their own hand.
    #[must_use]
    pub fn in_person(self) -> Self {
        Self { in_person: true, ..self }
    }
}
