//! A project folder, and `hexward run` in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub const NOBODY: u32 = 65534;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum As {
    Root,
    User,
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn everyone() -> &'static [As] {
    if is_root() { &[As::Root, As::User] } else { &[As::User] }
}

/// The programs where everyone can execute them, as long as a project needs them.
pub struct Programs(pub PathBuf);

impl Programs {
    /// Shared by all tests of this process that run at the same time.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Programs>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::make());
            *shared = Arc::downgrade(&made);
            made
        })
    }

    fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("hexward-run-programs-{}-{}", std::process::id(), next()));
        fs::create_dir(&folder).expect("a new folder");
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("readable");
        let built = Path::new(env!("CARGO_BIN_EXE_hexward"));
        for name in ["hexward", "hexward-jail"] {
            let from = built.with_file_name(name);
            assert!(from.exists(), "build it first: cargo build -p jail");
            // A link is not written to, so a process that another test forks meanwhile can't keep it busy.
            fs::hard_link(&from, folder.join(name)).or_else(|_| fs::copy(&from, folder.join(name)).map(|_| ())).expect("there");
        }
        Self(folder)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the programs are removed");
    }
}

/// A number that nothing else of these tests has.
pub fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A project of whoever runs the command; gone when dropped.
pub struct Project {
    pub folder: PathBuf,
    who: As,
    pub programs: Arc<Programs>,
}

impl Project {
    pub fn new(who: As) -> Self {
        let name = format!("hexward-run-project-{}-{}", std::process::id(), next());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new folder");
        let project = Self { folder: folder.canonicalize().expect("a real path"), who, programs: Programs::shared() };
        project.own();
        project.write("kept", "kept");
        project.write("changed", "before");
        project.write("gone", "gone");
        fs::create_dir_all(project.folder.join("folder/deep")).expect("a folder");
        project.write("folder/deep/file", "deep");
        project.own();
        project
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("written");
    }

    pub fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    pub fn own(&self) {
        if is_root() && self.who == As::User {
            let own = Command::new("chown").args(["-hR", "65534:65534"]).arg(&self.folder).status().expect("chown runs");
            assert!(own.success());
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.0.join("hexward"));
        command.arg("run").args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        command.env("HOME", "/nonexistent").env("SECRET_OF_MINE", "s3cret");
        if is_root() && self.who == As::User {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(arguments).output().expect("it runs");
        told(&output)
    }

    pub fn shell(&self, option: &str, script: &str) -> (Option<i32>, String, String) {
        self.run(&[option, "--", "sh", "-c", script])
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).expect("the project is removed");
    }
}

pub fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
