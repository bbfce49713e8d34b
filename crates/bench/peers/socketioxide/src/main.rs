//! socketioxide doing the job that mynah-bench expects of a gateway, with the same frames: register (1,
//! answered by 2), send to a user or a team (101, answered by 102), and `POST /v1/messages` to everyone. It
//! stores nothing; the settings are the defaults of socketioxide.
//!
//! `peer-socketioxide [port]` listens on 127.0.0.1, with one thread.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::routing::{post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef};

/// The connected users, and the members of the teams.
#[derive(Default)]
struct House {
    users: HashMap<String, SocketRef>,
    teams: HashMap<String, HashSet<String>>,
}

type Shared = Arc<Mutex<House>>;

/// A uid, stored with its socket.
#[derive(Clone)]
struct Uid(String);

fn with<T>(house: &Shared, then: impl FnOnce(&mut House) -> T) -> T {
    then(&mut house.lock().unwrap_or_else(PoisonError::into_inner))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

fn register(house: &Shared, socket: &SocketRef, data: &Value) {
    let uid = data["uid"].as_str().unwrap_or_default().to_owned();
    socket.extensions.insert(Uid(uid.clone()));
    let earlier = with(house, |house| {
        for (team, members) in &house.teams {
            if members.contains(&uid) {
                socket.join(format!("team:{team}"));
            }
        }
        house.users.insert(uid.clone(), socket.clone())
    });
    if let Some(earlier) = earlier.filter(|earlier| earlier.id != socket.id) {
        earlier.disconnect().ok();
    }
    let answer = json!({"type": 2, "data": {
        "code": 0, "uid": uid, "deviceid": data["deviceid"], "sid": socket.id, "ts": now(), "unread": 0,
    }});
    socket.emit("message", &answer.to_string()).ok();
}

async fn send(house: &Shared, socket: &SocketRef, data: &Value) {
    let ts = now();
    let from = socket
        .extensions
        .get::<Uid>()
        .map(|uid| uid.0)
        .unwrap_or_default();
    let frame = json!({"type": data["type"], "data": data["data"], "from": from, "ts": ts}).to_string();
    let delivered = if let Some(user) = data["to"]["user"].as_str() {
        let reader = with(house, |house| house.users.get(user).cloned());
        reader.is_some_and(|reader| reader.emit("message", &frame).is_ok())
    } else {
        let team = data["to"]["team"].as_str().unwrap_or_default();
        socket
            .to(format!("team:{team}"))
            .emit("message", &frame)
            .await
            .is_ok()
    };
    let answer =
        json!({"type": 102, "data": {"code": 0, "cid": data["cid"], "ts": ts, "delivered": delivered}});
    socket.emit("message", &answer.to_string()).ok();
}

async fn message(State((io, house)): State<(SocketIo, Shared)>, Json(body): Json<Value>) -> Json<Value> {
    let frame = json!({"type": body["type"], "data": body["data"], "ts": now()}).to_string();
    io.emit("message", &frame).await.ok();
    Json(json!({"online": with(&house, |house| house.users.len())}))
}

async fn team(
    State((_, house)): State<(SocketIo, Shared)>,
    Path(team): Path<String>,
    Json(body): Json<Value>,
) -> Json<Value> {
    let members: HashSet<String> = body["members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|uid| uid.as_str().map(str::to_owned))
        .collect();
    with(&house, |house| {
        for socket in members.iter().filter_map(|uid| house.users.get(uid)) {
            socket.join(format!("team:{team}"));
        }
        house.teams.insert(team, members);
    });
    Json(json!({}))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(3003), |port| port.parse())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(port))
}

async fn serve(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let (layer, io) = SocketIo::new_layer();
    let house = Shared::default();
    let shared = house.clone();
    io.ns("/", async move |socket: SocketRef| {
        let house = shared.clone();
        socket.on(
            "message",
            async move |socket: SocketRef, Data(text): Data<String>| {
                let Ok(frame) = serde_json::from_str::<Value>(&text) else {
                    return;
                };
                match frame["type"].as_u64() {
                    Some(1) => register(&house, &socket, &frame["data"]),
                    Some(101) => send(&house, &socket, &frame["data"]).await,
                    _ => {}
                }
            },
        );
        let house = shared.clone();
        socket.on_disconnect(async move |socket: SocketRef| {
            if let Some(Uid(uid)) = socket.extensions.get::<Uid>() {
                with(&house, |house| {
                    if house.users.get(&uid).is_some_and(|mapped| mapped.id == socket.id) {
                        house.users.remove(&uid);
                    }
                });
            }
        });
    });
    let router = Router::new()
        .route("/v1/messages", post(message))
        .route("/v1/teams/{team}", put(team))
        .with_state((io, house))
        .layer(layer);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening");
    axum::serve(listener, router).await?;
    Ok(())
}
