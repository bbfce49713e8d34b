//! A program that embeds the gateway and adds a kind of its own.
//!
//! `cargo run --example embed`, then register with any Socket.IO client and ask which users are connected:
//! `socket.emit('message', {type: 1000, data: {uids: ['alice', 'bob']}}, answer => ...)`

use mynah::config::Config;
use mynah::ids::Uid;
use mynah::server::Server;
use mynah::{Builder, Call, Gateway, Reject, Reply, Seen};
use serde::{Deserialize, Serialize};

/// Asks which of some users are connected.
const WHO_IS_HERE: u16 = 1000;
/// Tells a user that somebody asked for it. A kind that only the server sends needs no listener, but must be
/// configured.
const WAS_ASKED_FOR: u16 = 1001;

#[derive(Deserialize)]
struct Question {
    uids: Vec<String>,
}

#[derive(Serialize)]
struct Here {
    code: u16,
    here: Vec<Uid>,
}

#[derive(Serialize)]
struct AskedFor {
    by: Uid,
}

/// Answers at once, and tells the connected users that somebody asked for them.
fn who_is_here(gateway: &Gateway, call: Call) -> Reply {
    let question: Question = match serde_json::from_str(call.data.get()) {
        Ok(question) => question,
        Err(error) => return Reply::Reject(Reject::malformed(format!("\"data\" is wrong: {error}."))),
    };
    let uids: Vec<Uid> = question
        .uids
        .iter()
        .filter_map(|uid| Uid::new(uid).ok())
        .collect();
    let gateway = gateway.clone();
    Reply::later(async move {
        let here = gateway.online(&uids).await;
        for uid in &here {
            let asked = AskedFor { by: call.uid.clone() };
            match gateway.send_to(uid, WAS_ASKED_FOR, &asked).await {
                Ok(true) => {}
                Ok(false) => println!("{uid} left meanwhile"),
                Err(reject) => println!("{uid} was not told: {reject}"),
            }
        }
        Reply::object(&Here { code: 0, here })
    })
}

/// Opens the gateway with the kinds and listeners of this program.
pub(crate) async fn server(config: Config) -> anyhow::Result<Server> {
    let builder = Builder::new(config)
        .on_connect(|peer| println!("{} came from {}", peer.sid, peer.address))
        .on_data(|peer, seen| match seen {
            Seen::Frame { kind, .. } => println!("{} sent a frame of kind {kind}", peer.sid),
            Seen::Raw(text) => println!("{} sent {} bytes that are no frame", peer.sid, text.len()),
        })
        .on_close(|peer, reason| println!("{} left: {reason}", peer.sid))
        .on_error(|error| println!("trouble: {error}"));
    let server = Server::with(builder).await?;

    let gateway = server.gateway().clone();
    let asked = gateway.clone();
    gateway.register_type(WHO_IS_HERE, move |call| who_is_here(&asked, call))?;
    gateway.register_type(WAS_ASKED_FOR, |_| Reply::Nothing)?;
    Ok(server)
}

#[tokio::main]
#[allow(dead_code)] // the test of this example runs `server` alone
async fn main() -> anyhow::Result<()> {
    let server = server(Config::default()).await?;
    print!("{}", server.greeting());
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            println!("interrupts cannot be heard: {error}");
        }
    };
    server.run(interrupted).await
}
