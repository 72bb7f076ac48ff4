//! How a gateway without power asks for a sandbox: it names a [`Template`], which whoever has the power wrote down before,
//! and fills in what may differ from one sandbox to the next. What an [`Order`] can't say, it can't have: no path, no
//! program, no user, no mount, and no number beyond the template's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::{Calls, Isolation, Limits, Mount, Plan, PlanFault, ensure};

/// A kind of sandbox: everything of a [`Plan`] but what an order says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Which system calls an agent may make.
    pub calls: Calls,
    /// The program, as a path inside, and its first arguments. An order's arguments follow.
    pub argv: Vec<String>,
    /// Variables that are always there.
    pub env: BTreeMap<String, String>,
    /// Variables that an order may set, by name.
    pub env_names: BTreeSet<String>,
    /// Where the agent starts.
    pub cwd: PathBuf,
    /// What `uname -n` says inside.
    pub hostname: String,
    /// What is mounted, in order.
    pub mounts: Vec<Mount>,
    /// Small files that an order may fill, by a name; mounted after everything else.
    pub slots: BTreeMap<String, Slot>,
    /// User and group inside.
    pub uid: u32,
    /// See [`Template::uid`].
    pub gid: u32,
    /// The most that an order may ask for, and what it gets if it asks for nothing.
    pub limits: Limits,
}

/// A place for a small file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Where it appears inside.
    pub target: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Its size at most.
    pub bytes_max: usize,
}

/// One sandbox of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The sandbox's name, as [`Plan::id`].
    pub id: String,
    /// Which template.
    pub template: String,
    /// Arguments behind the template's.
    pub arguments: Vec<String>,
    /// Variables among the template's names.
    pub env: BTreeMap<String, String>,
    /// Content of slots. One without content is not there.
    pub files: BTreeMap<String, String>,
    /// Less than the template grants; nothing for just that.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// As [`Plan::extra_ports`].
    #[serde(default)]
    pub extra_ports: Vec<u16>,
}

impl Template {
    /// The plan of an order, which runs as `host_uid` on the host. [`Plan::validate`] has still to be asked.
    ///
    /// # Errors
    /// What the order asks for and the template does not grant; the fault is the orderer's.
    pub fn plan(&self, order: Order, host_uid: Option<u32>) -> Result<Plan, PlanFault> {
        let Order { id, template: _, arguments, env, files, limits, extra_ports } = order;
        if let Some(name) = env.keys().find(|name| !self.env_names.contains(*name)) {
            return Err(PlanFault(format!("{name:?} is not a variable that this kind of sandbox lets its gateway set")));
        }
        let limits = limits.unwrap_or_else(|| self.limits.clone());
        self.limits.cover(&limits)?;
        let mut mounts = self.mounts.clone();
        for (name, content) in files {
            mounts.push(self.slot(&name, content)?);
        }
        Ok(Plan {
            id,
            isolation: Isolation::Full,
            calls: self.calls,
            argv: self.argv.iter().cloned().chain(arguments).collect(),
            env: self.env.clone().into_iter().chain(env).collect(),
            cwd: self.cwd.clone(),
            hostname: self.hostname.clone(),
            mounts,
            uid: self.uid,
            gid: self.gid,
            host_uid,
            limits,
            extra_ports,
        })
    }

    fn slot(&self, name: &str, content: String) -> Result<Mount, PlanFault> {
        let slot = self.slots.get(name).ok_or_else(|| PlanFault(format!("this kind of sandbox has no file {name:?} to fill")))?;
        ensure(content.len() <= slot.bytes_max, || format!("file {name:?} has more than {} bytes", slot.bytes_max))?;
        Ok(Mount::File { target: slot.target.clone(), content, mode: slot.mode })
    }

    /// Checks the template by itself.
    ///
    /// # Errors
    /// The first fault found; it is the fault of whoever wrote the template.
    pub fn validate(&self) -> Result<(), PlanFault> {
        if let Some(name) = self.env_names.iter().find(|name| self.env.contains_key(*name)) {
            return Err(PlanFault(format!("variable {name:?} is both fixed and an order's")));
        }
        let full = Order {
            id: "template".to_owned(),
            template: String::new(),
            arguments: Vec::new(),
            env: BTreeMap::new(),
            files: self.slots.keys().map(|name| (name.clone(), String::new())).collect(),
            limits: None,
            extra_ports: Vec::new(),
        };
        self.plan(full, None)?.validate()
    }
}

impl Limits {
    /// Whether others ask for no more than this.
    fn cover(&self, asked: &Self) -> Result<(), PlanFault> {
        let within = |most: Option<u64>, asked: Option<u64>| most.is_none_or(|most| asked.is_some_and(|asked| asked <= most));
        for (name, is_within) in [
            ("memory_bytes", asked.memory_bytes <= self.memory_bytes),
            ("pids", asked.pids <= self.pids),
            ("cpu_percent", within(self.cpu_percent.map(u64::from), asked.cpu_percent.map(u64::from))),
            ("files_open", asked.files_open <= self.files_open),
            ("file_size_bytes", within(self.file_size_bytes, asked.file_size_bytes)),
        ] {
            ensure(is_within, || format!("limit {name} is above what this kind of sandbox may have"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template {
            calls: Calls::Agent,
            argv: vec!["/agent".into(), "--always".into()],
            env: [("HOME".to_owned(), "/".to_owned())].into(),
            env_names: ["TOKEN".to_owned()].into(),
            cwd: "/".into(),
            hostname: "sandbox".into(),
            mounts: vec![Mount::BindRo { source: "/bin/agent".into(), target: "/agent".into() }],
            slots: [("ca".to_owned(), Slot { target: "/ca.pem".into(), mode: 0o444, bytes_max: 8 })].into(),
            uid: 1000,
            gid: 1000,
            limits: Limits { cpu_percent: Some(100), ..Limits::default() },
        }
    }

    fn order() -> Order {
        Order {
            id: "one".into(),
            template: "agent".into(),
            arguments: vec!["--more".into()],
            env: [("TOKEN".to_owned(), "t".to_owned())].into(),
            files: [("ca".to_owned(), "pem".to_owned())].into(),
            limits: None,
            extra_ports: vec![5432],
        }
    }

    #[test]
    fn an_order_fills_in_what_may_differ() {
        let plan = template().plan(order(), Some(7)).expect("within bounds");
        plan.validate().expect("valid");
        assert_eq!(plan.argv, ["/agent", "--always", "--more"]);
        assert_eq!(plan.env, [("HOME", "/"), ("TOKEN", "t")].map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let file = Mount::File { target: "/ca.pem".into(), content: "pem".into(), mode: 0o444 };
        assert_eq!(plan.mounts, [template().mounts, vec![file]].concat());
        assert_eq!((plan.host_uid, plan.limits, plan.extra_ports), (Some(7), template().limits, vec![5432]));
        let less = Limits { memory_bytes: 8 << 20, cpu_percent: Some(50), file_size_bytes: Some(1), ..template().limits };
        let plan = template().plan(Order { limits: Some(less.clone()), ..order() }, None).expect("less is fine");
        assert_eq!(plan.limits, less);
    }

    #[test]
    fn what_the_template_does_not_grant_is_refused() {
        type Spoil = fn(&mut Order);
        let spoils: [(&str, Spoil); 8] = [
            ("foreign variable", |o| drop(o.env.insert("LD_PRELOAD".into(), "/tmp/x.so".into()))),
            ("fixed variable", |o| drop(o.env.insert("HOME".into(), "/tmp".into()))),
            ("foreign file", |o| drop(o.files.insert("../../etc/passwd".into(), String::new()))),
            ("long file", |o| drop(o.files.insert("ca".into(), "x".repeat(9)))),
            ("memory", |o| o.limits = Some(Limits { memory_bytes: u64::MAX, ..template().limits })),
            ("processes", |o| o.limits = Some(Limits { pids: u32::MAX, ..template().limits })),
            ("unbounded processors", |o| o.limits = Some(Limits { cpu_percent: None, ..template().limits })),
            ("files", |o| o.limits = Some(Limits { files_open: u64::MAX, ..template().limits })),
        ];
        for (name, spoil) in spoils {
            let mut spoiled = order();
            spoil(&mut spoiled);
            assert!(template().plan(spoiled, None).is_err(), "{name} was granted");
        }
        for more in ["host_uid", "mounts", "argv", "isolation", "uid", "cwd", "calls"] {
            let mut value = serde_json::to_value(order()).expect("an order is JSON");
            value.as_object_mut().expect("an object").insert(more.into(), 0.into());
            assert!(serde_json::from_value::<Order>(value).is_err(), "{more} can't be said");
        }
    }

    #[test]
    fn a_template_is_checked_with_all_its_slots() {
        template().validate().expect("valid");
        let ambiguous = Template { env_names: ["HOME".to_owned()].into(), ..template() };
        assert!(ambiguous.validate().is_err());
        let slot = Slot { target: "/proc/sys".into(), mode: 0o444, bytes_max: 1 };
        assert!(Template { slots: [("x".to_owned(), slot)].into(), ..template() }.validate().is_err());
    }
}
