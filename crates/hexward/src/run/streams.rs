//! The command's standard streams: with a terminal one of its own, never the developer's; otherwise pipes, so that no file of
//! the developer's is open inside.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::fs::File;
use std::io::{IsTerminal, Read, Result, Write, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use tokio::signal::unix::{SignalKind, signal};

const COPY_BYTES: usize = 64 << 10;

/// Before the command is started.
pub struct Streams {
    inside: Option<[OwnedFd; 3]>,
    input: OwnedFd,
    /// From inside, and where it goes.
    outputs: Vec<(OwnedFd, OwnedFd)>,
    terminal: Option<OwnedFd>,
}

/// While it runs.
pub struct Session {
    copies: Vec<JoinHandle<()>>,
    raw: Option<Raw>,
    /// Closed to end the copying of input.
    stop: OwnedFd,
    sizes: Option<tokio::task::JoinHandle<()>>,
}

impl Streams {
    pub fn open() -> Result<Self> {
        if stdin().is_terminal() && stdout().is_terminal() { Self::terminal() } else { Self::pipes() }
    }

    fn terminal() -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        // The same keys for the same things as the developer has set.
        tcsetattr(&slave, OptionalActions::Now, &tcgetattr(stdin())?)?;
        tcsetwinsize(&master, tcgetwinsize(stdout())?)?;
        let outputs = vec![(master.try_clone()?, stdout().as_fd().try_clone_to_owned()?)];
        let inside = Some([slave.try_clone()?, slave.try_clone()?, slave]);
        Ok(Self { inside, input: master.try_clone()?, outputs, terminal: Some(master) })
    }

    fn pipes() -> Result<Self> {
        let ((their_in, input), (out, their_out), (err, their_err)) = (std::io::pipe()?, std::io::pipe()?, std::io::pipe()?);
        let outputs =
            vec![(out.into(), stdout().as_fd().try_clone_to_owned()?), (err.into(), stderr().as_fd().try_clone_to_owned()?)];
        let inside = Some([their_in.into(), their_out.into(), their_err.into()]);
        Ok(Self { inside, input: input.into(), outputs, terminal: None })
    }

    /// The command's ends, once. They must not stay open here, or its end would not be seen.
    pub fn inside(&mut self) -> Result<[OwnedFd; 3]> {
        self.inside.take().ok_or_else(|| std::io::Error::other("the streams were given away"))
    }

    /// Begins to copy. With a terminal every key goes to the command from here on.
    pub fn begin(self) -> Result<Session> {
        let raw = self.terminal.as_ref().map(|_| Raw::begin()).transpose()?;
        let (stopped, stop) = std::io::pipe()?;
        let (from, to) = (stdin().as_fd().try_clone_to_owned()?, self.input);
        std::thread::spawn(move || copy_input(File::from(from), File::from(to), &stopped.into()));
        let copy = |(from, to): (OwnedFd, OwnedFd)| std::thread::spawn(move || copy_output(File::from(from), File::from(to)));
        let copies = self.outputs.into_iter().map(copy).collect();
        let sizes = self.terminal.map(follow_size).transpose()?;
        Ok(Session { copies, raw, stop: stop.into(), sizes })
    }
}

impl Session {
    /// Waits until everything that the command said is written, and gives the terminal back.
    pub async fn end(self) {
        let Self { copies, raw, stop, sizes } = self;
        drop(stop);
        let joined = tokio::task::spawn_blocking(move || copies.into_iter().for_each(|copy| drop(copy.join())));
        let _joined = joined.await;
        if let Some(sizes) = sizes {
            sizes.abort();
        }
        drop(raw);
    }
}

/// Passes on what is typed until the command is gone; what is typed after that is for us.
fn copy_input(mut from: File, mut to: File, stop: &OwnedFd) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let (typed, over) = {
            let mut fds = [PollFd::new(&from, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            let [typed, over] = fds.map(|fd| !fd.revents().is_empty());
            (typed, over)
        };
        if over || !typed {
            return;
        }
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if buffer.get(..count).is_none_or(|bytes| to.write_all(bytes).is_err()) {
                    return;
                }
            }
        }
    }
}

/// Until every end inside is closed, which a terminal says with an error; or until nobody listens out here, which the command
/// then learns as it would without us.
fn copy_output(mut from: File, mut to: File) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match from.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if buffer.get(..count).is_none_or(|bytes| to.write_all(bytes).is_err()) {
                    return;
                }
            }
        }
    }
}

fn follow_size(terminal: OwnedFd) -> Result<tokio::task::JoinHandle<()>> {
    let mut changed = signal(SignalKind::window_change())?;
    Ok(tokio::spawn(async move {
        while changed.recv().await.is_some() {
            if let Ok(size) = tcgetwinsize(stdout()) {
                let _told = tcsetwinsize(&terminal, size);
            }
        }
    }))
}

/// The developer's terminal without its own keys, until dropped.
struct Raw(Termios);

impl Raw {
    fn begin() -> Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _restored = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}
