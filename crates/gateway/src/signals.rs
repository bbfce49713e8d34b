//! Signals: SIGTERM and SIGINT stop the program, SIGHUP makes it read keys and certificates again, and some
//! others are ignored.

use std::io;

use mynah::reload::Reload;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code after a second signal to stop: 128 plus the number of SIGINT, like that of a program that
/// SIGINT has ended.
const ENDED_AT_ONCE: i32 = 130;

/// The signals that the program waits for.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers: from here on the signals have no default effect. Rust's runtime ignores SIGPIPE
    /// already.
    pub(crate) fn take() -> io::Result<Self> {
        // A handler remains installed when the stream is dropped, so that these signals have no effect.
        for unused in [
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::alarm(),
            SignalKind::io(),
        ] {
            drop(signal(unused)?);
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Reloads at each SIGHUP until a signal to stop. At a second one the program ends at once.
    pub(crate) async fn until_stop(&mut self, reload: Reload) {
        loop {
            tokio::select! {
                () = told_to_stop(&mut self.terminate, &mut self.interrupt) => break,
                _ = self.hangup.recv() => {
                    let reload = reload.clone();
                    tokio::spawn(async move { reload.now().await });
                }
            }
        }
        let Ok(mut again) = Self::take() else { return };
        tokio::spawn(async move {
            told_to_stop(&mut again.terminate, &mut again.interrupt).await;
            tracing::warn!("received a second signal to stop: ending at once");
            std::process::exit(ENDED_AT_ONCE);
        });
    }
}

async fn told_to_stop(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
