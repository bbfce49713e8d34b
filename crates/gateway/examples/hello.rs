//! The smallest program that embeds the gateway, as in the README. `embed.rs` shows more.

use mynah::{Reply, config::Config, server::Server};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = Server::open(Config::default()).await?;
    let gateway = server.gateway().clone();
    gateway.register_type(1000, |call| {
        Reply::object(&serde_json::json!({"code": 0, "hello": call.uid}))
    })?;
    println!("{}", server.greeting());
    server
        .run(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
        .await
}
