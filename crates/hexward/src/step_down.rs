//! A gateway that root started gives root up before it opens a port or touches its data. What needs root, the making of
//! sandboxes, stays behind in the privileged helper, which was told before what a sandbox may be.
//!
//! Rights belong to threads, so this happens while there is one.

use crate::config::Config;
use crate::gateway;
use crate::trust::Trust;
use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use sandbox::{HOST_USERS, JailedDriver, Mode as Confinement, leave_session};
use std::fs::{DirBuilder, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who the gateway is if the configuration names nobody: a user of this name if the system has one, otherwise this number.
const USER: &str = "hexward";
const UID: u32 = 1_990_000;
/// Ports below this one take a right of their own.
const FREE_PORTS: u16 = 1024;
/// Sandboxes beside those that are counted: prepared ones, and those that end while others begin.
const SANDBOXES_BESIDE: usize = 64;

/// Who the gateway shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

/// The way of running agents, and this process as an ordinary user if it was root. In development a gateway whose user can't
/// reach what it needs stays root, and says so; in production it does not start.
///
/// # Errors
/// What keeps the gateway from being anybody else, or from running agents at all.
pub fn step_down(config: &Config) -> Result<JailedDriver> {
    believed(config)?;
    let mut begun = gateway::unverified(config)?;
    // Direct mode, for development alone, confines nothing anyway, and warns of it.
    if !geteuid().is_root() || config.mode == Confinement::Direct {
        return Ok(begun.verify_meanwhile());
    }
    let user = user(&config.user)?;
    if let Some(obstacle) = obstacle(config, user) {
        if config.production {
            bail!("{obstacle}");
        }
        tracing::warn!("this gateway keeps root, which production does not allow: {obstacle}");
        return Ok(begun.verify_meanwhile());
    }
    let runs = &config.runs;
    let counted = runs.concurrent_max.saturating_add(runs.idle_agents_max).saturating_add(runs.warm_agents_max);
    begun.driver =
        begun.driver.with_helper(counted.saturating_add(SANDBOXES_BESIDE)).context("the privileged helper did not start")?;
    give_state(&config.state_dir, user)?;
    let callers = config.callers.as_ref().map(|(at, _)| at.port());
    let low_ports = std::iter::once(config.people.port()).chain(callers).any(|port| (1..FREE_PORTS).contains(&port));
    become_user(user, low_ports).with_context(|| format!("root can't be given up for user {}", user.uid))?;
    tracing::info!(uid = user.uid, "root given up; a privileged helper makes the sandboxes");
    Ok(begun.verify_meanwhile())
}

/// What root is to execute, and where it is to make folders, is nobody else's to choose.
fn believed(config: &Config) -> Result<()> {
    let Some(trust) = Trust::of_root()? else { return Ok(()) };
    trust.file(&config.jail_path)?;
    if config.mode == Confinement::Direct {
        trust.file(&config.agent_path)?;
    }
    trust.way(&config.state_dir)
}

fn user(named: &str) -> Result<User> {
    let known =
        |name: &str| nix::unistd::User::from_name(name).with_context(|| format!("gateway.user: {name:?} can't be looked up"));
    let of = |user: nix::unistd::User| User { uid: user.uid.as_raw(), gid: user.gid.as_raw() };
    let user = match (named, named.parse()) {
        ("", _) => known(USER)?.map_or(User { uid: UID, gid: UID }, of),
        (_, Ok(uid)) => nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))?.map_or(User { uid, gid: uid }, of),
        (name, Err(_)) => {
            known(name)?.map(of).with_context(|| format!("gateway.user: there is no user {name:?} on this host"))?
        }
    };
    if user.uid == 0 || user.gid == 0 {
        bail!("gateway.user: the gateway must not be root, nor in its group. Name an ordinary user");
    }
    if HOST_USERS.contains(&user.uid) || HOST_USERS.contains(&user.gid) {
        bail!("gateway.user: {} to {} are the users of sandboxes. Name another", HOST_USERS.start, HOST_USERS.end - 1);
    }
    Ok(user)
}

/// What the user could not reach, and what to do.
fn obstacle(config: &Config, user: User) -> Option<String> {
    let sealed = [Some(&config.agent_path), (!config.apps.is_empty()).then_some(&config.runtime_path)].into_iter().flatten();
    let state = config.state_dir.parent().map(Path::to_path_buf).unwrap_or_default();
    let closed = sealed.cloned().chain([state]).find_map(|path| closed_to(&path, user).map(|closed| (path, closed)));
    closed.map(|(path, closed)| {
        format!(
            "user {} can't reach {}, because {} is closed to others. Use `chmod o+x` on it, or put this elsewhere \
             (--state-dir, agent.path)",
            user.uid,
            path.display(),
            closed.display()
        )
    })
}

/// The first folder on the way that a user can't pass. What does not exist yet closes nothing.
fn closed_to(path: &Path, user: User) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let path = path.canonicalize().unwrap_or(path);
    let passes = |folder: &Path| {
        let Ok(meta) = std::fs::metadata(folder) else { return true };
        let bit = if meta.uid() == user.uid {
            0o100
        } else if meta.gid() == user.gid {
            0o010
        } else {
            0o001
        };
        !meta.is_dir() || meta.mode() & bit != 0
    };
    let mut folders: Vec<_> = path.ancestors().collect();
    folders.reverse();
    folders.into_iter().find(|folder| !passes(folder)).map(Path::to_path_buf)
}

/// Hands the state folder over. One that root used before goes over with all that is in it: nobody else could put anything
/// there.
fn give_state(folder: &Path, user: User) -> Result<()> {
    let cannot = || format!("{} can't be handed over to user {}; choose another --state-dir", folder.display(), user.uid);
    make_open(folder.parent().unwrap_or(folder)).with_context(cannot)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error).with_context(cannot),
        Ok(()) | Err(_) => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, folder, flags, Mode::empty()).with_context(cannot)?;
    let meta = fstat(&opened).with_context(cannot)?;
    // Anybody else's, or one that others may enter: who opens it next says what is wrong with it.
    if meta.st_uid != 0 || meta.st_mode & 0o077 != 0 {
        return Ok(());
    }
    give_below(&opened, user).with_context(cannot)?;
    rustix::fs::fchown(&opened, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid))).with_context(cannot)
}

fn give_below(folder: &OwnedFd, user: User) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            give_below(&openat(folder, name, flags, Mode::empty())?, user)?;
        }
    }
    Ok(())
}

/// Makes the folders that are missing, for everybody to pass.
fn make_open(folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    make_open(folder.parent().unwrap_or(Path::new("")))?;
    std::fs::create_dir(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Takes on the user with no others beside, and no capability but, where it is needed, that for low ports.
fn become_user(user: User, low_ports: bool) -> Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").context("the threads can't be counted")?.count();
    if threads != 1 {
        bail!("there are {threads} threads already; this is a fault of the program");
    }
    leave_session().context("root's terminal and keys can't be left")?;
    clear_ambient_capability_set()?;
    let kept = if low_ports { CapabilitySet::NET_BIND_SERVICE } else { CapabilitySet::empty() };
    for number in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(Errno::INVAL) if number > 0 => break,
            Err(errno) => return Err(errno).context("the bounding set"),
        }
    }
    set_keep_capabilities(low_ports)?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_groups(&[]).context("the supplementary groups")?;
    set_thread_res_gid(gid, gid, gid).context("the group")?;
    set_thread_res_uid(uid, uid, uid).context("the user")?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    set_no_new_privs(true)?;
    let held = capabilities(None)?;
    if held.effective != kept || held.permitted != kept || set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok() {
        bail!("the kernel did not take everything away");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_user_is_an_ordinary_one_and_no_sandboxs() {
        assert_eq!(user("1234567").expect("a number"), User { uid: 1_234_567, gid: 1_234_567 });
        assert_ne!(user("nobody").expect("every system has one").uid, 0);
        for (name, reason) in
            [("0", "root"), ("root", "root"), ("2000005", "sandboxes"), ("2100000", "sandboxes"), ("no one", "no user")]
        {
            let error = user(name).expect_err(name).to_string();
            assert!(error.contains(reason) && error.contains("gateway.user"), "{error}");
        }
    }

    #[test]
    fn a_closed_folder_on_the_way_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("a/b/c");
        std::fs::create_dir_all(&below).expect("made");
        let real = folder.path().canonicalize().expect("there");
        let open = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
        let stranger = User { uid: 1_234_567, gid: 1_234_567 };
        open(folder.path(), 0o755);
        open(&real.join("a"), 0o750);
        assert_eq!(closed_to(&below.join("not/there"), stranger), Some(real.join("a")));
        open(&real.join("a"), 0o711);
        assert_eq!(closed_to(&below.join("not/there"), stranger), None);
    }
}
