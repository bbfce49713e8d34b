//! Tells the operator which connections and registers are refused, and why, without letting peers fill the
//! log.
//!
//! Invariant: at most one line a minute is written, whatever the number of refusals; a line contains no
//! address and nothing that a peer sent. Each single refusal is logged at level debug where it happens.

use std::sync::Arc;
use std::time::Duration;

use mynah_front::{Admission, Refusal};

use crate::metrics::{Metrics, ReasonLabel};
use crate::reject::Code;

/// How often the counts are checked.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// The refusals that an operator can do something about, each with the configuration key to check. The other
/// ones happen at every address on the internet.
const CONNECTIONS: [(Refusal, &str); 7] = [
    (Refusal::Connections, "limits.connections"),
    (Refusal::Address, "limits.connections_per_address"),
    (Refusal::Origin, "server.cors_origins"),
    (Refusal::Host, "server.hosts"),
    (Refusal::Tls, "server.tls"),
    (Refusal::ProxyHeader, "server.proxy_protocol"),
    (Refusal::Untrusted, "server.trusted_proxies"),
];

/// The refusals counted so far: connections and requests by reason, and registers by code.
type Counts = ([u64; CONNECTIONS.len()], [u64; Code::ALL.len()]);

fn counts(admission: &Admission, metrics: &Metrics) -> Counts {
    let registers = |code: Code| {
        let reason = code.reason();
        metrics
            .registers_refused
            .get_or_create(&ReasonLabel { reason })
            .get()
    };
    (
        CONNECTIONS.map(|(refusal, _)| admission.refused(refusal)),
        Code::ALL.map(registers),
    )
}

/// Describes what was refused between the counts `before` and `now`; `None` if nothing was.
fn said(before: &Counts, now: &Counts) -> Option<String> {
    let more = |(now, before): (&u64, &u64)| now.saturating_sub(*before);
    let connections = now.0.iter().zip(&before.0).map(more).zip(CONNECTIONS);
    let registers = now.1.iter().zip(&before.1).map(more).zip(Code::ALL);
    let parts: Vec<String> = connections
        .filter(|(count, _)| *count > 0)
        .map(|(count, (refusal, key))| format!("{count} because of {} ({key})", refusal.as_str()))
        .chain(
            registers
                .filter(|(count, _)| *count > 0)
                .map(|(count, code)| format!("registers refused as {}: {count}", code.reason())),
        )
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Logs a summary when something was refused. Runs forever.
pub(crate) async fn tell(admission: Arc<Admission>, metrics: Arc<Metrics>) {
    let mut before = counts(&admission, &metrics);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = counts(&admission, &metrics);
        let Some(refused) = said(&before, &now) else {
            continue;
        };
        tracing::warn!(
            "clients were refused since the last such line: {refused}; log.filter = \"debug\" shows each refusal"
        );
        before = now;
        tokio::time::sleep(BETWEEN_LINES).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_refused_since() {
        let (admission, metrics) = (Admission::default(), Metrics::new());
        let before = counts(&admission, &metrics);
        assert_eq!(said(&before, &counts(&admission, &metrics)), None);
        admission.count(Refusal::Origin);
        admission.count(Refusal::Origin);
        admission.count(Refusal::HeaderTimeout);
        let reason = Code::Unauthenticated.reason();
        metrics
            .registers_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
        let now = counts(&admission, &metrics);
        assert_eq!(
            said(&before, &now).as_deref(),
            Some("2 because of origin (server.cors_origins), registers refused as unauthenticated: 1")
        );
        assert_eq!(said(&now, &now), None);
    }
}
