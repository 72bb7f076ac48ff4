//! What to confine and how to ask for it: the [`Plan`] of one sandbox, the messages between a gateway and the program
//! `hexward-jail`, and a small blocking client.
//!
//! The program takes its end of a control socket as **standard input**; the agent's own standard input, output and error
//! travel with the plan as file descriptors. So the gateway needs no code between fork and exec, no descriptor can leak
//! into a process started at the same moment, and the jail's own complaints never mix with the agent's output.
//!
//! Linux 5.14 or newer, with root or without. What a host can't enforce is told in [`Ready::downgrades`].
//!
//! One sandbox lives exactly as long as its control socket. This library never confines anything by itself; the program
//! beside it does.

#![deny(unsafe_code)]

mod client;
mod helping;
mod order;
#[expect(unsafe_code, reason = "the kernel's calls without a safe wrapper stand here and in the program's own file")]
mod parting;
mod plan;
mod wire;

pub use client::{AgentStdio, Jail, Listeners, Prepared, command, control_pair, sweep_command};
pub use helping::{Helper, HelperWord};
pub use order::{Order, Slot, Template};
pub use parting::{close_inherited_files, leave_keyring, leave_session};
pub use plan::{Calls, HOST_UID_FIRST, HOST_UIDS, Isolation, Limits, Mount, Plan, PlanFault};
pub use wire::{
    CHECK_HOST_DENIED, CHECK_HOST_OWN, Check, Checked, ControlError, End, FRAME_BYTES_MAX, Failure, Filled, Inbox, Outbox, Ready,
    Reply, Request, Step, Usage,
};
