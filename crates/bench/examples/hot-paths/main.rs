//! The paths that every message takes. Each is run a fixed number of times on fixed input, and
//! `scripts/instructions` counts its instructions and allocations under callgrind.
//!
//! The whole gateway runs on one thread behind a socket, so the counts are those of real use: bytes arrive,
//! bytes leave, and no inner function is called directly. The store is a stand-in that agrees at once; SQLite
//! is measured elsewhere.
//!
//! `hot-paths` lists the paths. `hot-paths one-to-one` runs one, and prints how many operations it counts as.

mod client;
mod paths;
mod stand_in;
mod world;

use paths::{PATHS, Walk};
use world::World;

/// Runs before the counting starts, after which buffers and tables have their final size.
const WARM_UP: usize = 16;

fn main() -> anyhow::Result<()> {
    let Some(wanted) = std::env::args().nth(1) else {
        PATHS.iter().for_each(|path| println!("{}", path.name));
        return Ok(());
    };
    let path = PATHS.iter().find(|path| path.name == wanted);
    let path = path.ok_or_else(|| anyhow::anyhow!("unknown path {wanted}"))?;
    let mut world = World::new(path.users, path.format)?;
    let mut walk = (path.walk)(&world)?;
    for _ in 0..WARM_UP {
        walk(&mut world);
    }
    println!("{}", path.walks * path.operations);
    counted_section(&mut world, &mut walk, path.walks);
    // Skips the cleanup, which would be counted.
    std::process::exit(0);
}

/// Callgrind counts from here on. It finds this function by its name.
#[inline(never)]
fn counted_section(world: &mut World, walk: &mut Walk, walks: usize) {
    for _ in 0..walks {
        walk(world);
    }
}
