//! Who decides what a sandbox is: whoever started this program, or whoever wrote down the templates.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jail::{ControlError, Failure, Inbox, Order, Plan, PlanFault, Step, Template};
use rustix::pipe::fcntl_getpipe_size;

use crate::failure::failure;

/// By name.
pub type Templates = BTreeMap<String, Template>;

/// Decides over one sandbox.
pub enum Authority<'a> {
    /// The gateway, which has no less power than this process. It sends a whole [`Plan`].
    Gateway,
    /// A gateway without power, which sends an [`Order`]. The sandbox is one of these, as this user on the host, and ends
    /// with the helper, whatever becomes of sockets.
    Templates { templates: &'a Templates, host_uid: u32, helper: BorrowedFd<'a> },
}

impl Authority<'_> {
    /// The plan that a message asks for, as soon as it is here.
    ///
    /// # Errors
    /// [`ControlError::Failed`] if it asks for something that it may not have.
    pub fn take(&self, inbox: &mut Inbox) -> Result<Option<Plan>, ControlError> {
        let Self::Templates { templates, host_uid, .. } = self else { return inbox.take() };
        let Some(order) = inbox.take::<Order>()? else { return Ok(None) };
        let unknown = || PlanFault(format!("there is no template {:?}", order.template));
        let template = templates.get(&order.template).ok_or_else(unknown);
        let plan = template.and_then(|template| template.plan(order.clone(), Some(*host_uid)));
        plan.map(Some).map_err(|fault| ControlError::Failed(refusal(&fault)))
    }

    /// Whether an agent may have these streams. One that a gateway without power hands over is a pipe: whatever else there
    /// is can lead somewhere, carry descriptors, keep a sandbox alive, or hold up who closes it.
    ///
    /// # Errors
    /// [`ControlError::Failed`] if not.
    pub fn accept(&self, streams: &[OwnedFd; 3]) -> Result<(), ControlError> {
        let are_pipes = streams.iter().all(|stream| fcntl_getpipe_size(stream.as_fd()).is_ok());
        match self {
            Self::Templates { .. } if !are_pipes => {
                Err(ControlError::Failed(refusal(&PlanFault("the agent's three standard streams must be pipes".into()))))
            }
            Self::Templates { .. } | Self::Gateway => Ok(()),
        }
    }

    /// Readable when the helper is gone.
    pub const fn guardian(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Templates { helper, .. } => Some(*helper),
            Self::Gateway => None,
        }
    }
}

/// What is said about a plan that is not good.
pub fn refusal(fault: &PlanFault) -> Failure {
    failure(Step::Plan, format!("the plan is not valid: {fault}"))
}
