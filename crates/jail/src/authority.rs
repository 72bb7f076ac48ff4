//! Who decides what a sandbox is: whoever started this program, or whoever wrote down the templates.

use std::collections::BTreeMap;

use jail::{ControlError, Failure, Inbox, Order, Plan, PlanFault, Step, Template};

use crate::failure::failure;

/// By name.
pub type Templates = BTreeMap<String, Template>;

/// Decides over one sandbox.
pub enum Authority<'a> {
    /// The gateway, which has no less power than this process. It sends a whole [`Plan`].
    Gateway,
    /// A gateway without power, which sends an [`Order`]. The sandbox is one of these, as this user on the host.
    Templates { templates: &'a Templates, host_uid: u32 },
}

impl Authority<'_> {
    /// The plan that a message asks for, as soon as it is here.
    ///
    /// # Errors
    /// [`ControlError::Failed`] if it asks for something that it may not have.
    pub fn take(&self, inbox: &mut Inbox) -> Result<Option<Plan>, ControlError> {
        let Self::Templates { templates, host_uid } = self else { return inbox.take() };
        let Some(order) = inbox.take::<Order>()? else { return Ok(None) };
        let unknown = || PlanFault(format!("there is no template {:?}", order.template));
        let template = templates.get(&order.template).ok_or_else(unknown);
        let plan = template.and_then(|template| template.plan(order.clone(), Some(*host_uid)));
        plan.map(Some).map_err(|fault| ControlError::Failed(refusal(&fault)))
    }
}

/// What is said about a plan that is not good.
pub fn refusal(fault: &PlanFault) -> Failure {
    failure(Step::Plan, format!("the plan is not valid: {fault}"))
}
