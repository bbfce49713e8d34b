//! The paths that every message takes, each walked a fixed number of times on fixed input: `scripts/instructions` counts the
//! instructions and the allocations of it under callgrind.
//!
//! The whole gateway stands on one thread behind a socket, so that a path is what it costs in use: bytes come in, bytes go out,
//! and nothing inside is called by name. The store is a stand-in that agrees at once; SQLite is measured elsewhere.
//!
//! `hot-paths` names the paths, `hot-paths one-to-one` walks one and says how many operations it counts.

mod client;
mod paths;
mod stand_in;
mod world;

use paths::{PATHS, Walk};
use world::World;

/// Walks before anything is counted: buffers and tables have their size then.
const WARM_UP: usize = 16;

fn main() -> anyhow::Result<()> {
    let Some(wanted) = std::env::args().nth(1) else {
        PATHS.iter().for_each(|path| println!("{}", path.name));
        return Ok(());
    };
    let path = PATHS.iter().find(|path| path.name == wanted);
    let path = path.ok_or_else(|| anyhow::anyhow!("there is no path {wanted}"))?;
    let mut world = World::new(path.users, path.format)?;
    let mut walk = (path.walk)(&world)?;
    for _ in 0..WARM_UP {
        walk(&mut world);
    }
    println!("{}", path.walks * path.operations);
    counted_section(&mut world, &mut walk, path.walks);
    // Without tidying up, which would be counted.
    std::process::exit(0);
}

/// From here on callgrind counts: it knows the function by its name.
#[inline(never)]
fn counted_section(world: &mut World, walk: &mut Walk, walks: usize) {
    for _ in 0..walks {
        walk(world);
    }
}
