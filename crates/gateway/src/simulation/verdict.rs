//! The checks at the end: what each device has received, and what the history contains.

use super::app::{App, Behaviour};
use super::watched::short;
use super::world::{WHOLE, World};
use crate::ids::Seq;
use crate::store::Span;

impl World {
    /// Checks that a device has received everything for its user since it became known, except own messages
    /// that it has forgotten.
    pub(super) fn check_received_everything(&self, app: &App) {
        let device = app.as_device();
        let state = self.hub.lock();
        if app.behaviour != Behaviour::Correct || !state.devices.knows(&device) {
            return;
        }
        let mut missing = Vec::new();
        for (id, conv) in state.truth.of(&app.uid) {
            let got = app.mem.places.get(&id).map(|place| &place.got);
            for seq in state.devices.base(&device, id) + 1..=conv.head() {
                let lost = conv.entry(seq).and_then(|entry| {
                    let cid = entry
                        .cid
                        .as_ref()
                        .filter(|_| entry.from.as_ref() == Some(&app.uid))?;
                    Some(app.lost.contains(&app.number(cid.as_str())?))
                });
                if conv.sends(&app.uid, seq)
                    && !got.is_some_and(|got| got.contains(&seq))
                    && lost != Some(true)
                {
                    missing.push(format!("{} {seq} of {}", short(id), conv.head()));
                }
            }
        }
        drop(state);
        self.hub.check(missing.is_empty(), || {
            format!("{} never got {missing:?}", app.name())
        });
    }

    pub(super) fn check_notifications(&self) {
        let day = self.hub.day();
        let mut due = Vec::new();
        {
            let state = self.hub.lock();
            for conv in state.truth.convs.values() {
                for (at, entry) in conv.log.iter().enumerate() {
                    let Some(notify) = entry.notify.filter(|notify| notify.expires > day) else {
                        continue;
                    };
                    for uid in entry
                        .audience
                        .iter()
                        .filter(|uid| Some(*uid) != entry.from.as_ref())
                    {
                        let told = state.notified.contains(&(uid.clone(), entry.mid));
                        // Nobody is invited to a call that has ended.
                        let moot = entry.kind == 18 && conv.log[at..].iter().any(|later| later.kind == 19);
                        if !told && !moot && !entry.recalled && conv.sends(uid, at as u64 + 1) {
                            due.push((uid.clone(), notify.since, format!("{:?} {}", conv.kind, at + 1)));
                        }
                    }
                }
            }
        }
        for (uid, since, what) in due {
            let online = self.hub.may_be_online(&uid, since);
            let known = self.scenario.users.contains(&uid);
            self.hub.check(online || !known, || {
                format!("{uid} is offline and was not notified of {what}")
            });
        }
    }

    /// Checks that every message is in the history as it was committed, and that each user sees the right
    /// part of it.
    pub(super) async fn check_history(&mut self) {
        let convs: Vec<_> = self.hub.lock().truth.convs.keys().copied().collect();
        for id in convs {
            let viewers = self
                .scenario
                .users
                .iter()
                .cloned()
                .map(Some)
                .chain([None])
                .collect::<Vec<_>>();
            for viewer in viewers {
                let Some(server) = self.a_server() else { return };
                let store = server.running.store.clone();
                let asked = {
                    let viewer = viewer.clone();
                    async move {
                        let mut all = Vec::new();
                        loop {
                            let after = all.last().map_or(Seq(0), |last: &crate::store::Message| last.seq);
                            let page = store
                                .history(id, viewer.clone(), Span::After(after), WHOLE)
                                .await?;
                            all.extend(page.messages);
                            if !page.more {
                                return Ok::<_, crate::store::StoreError>(all);
                            }
                        }
                    }
                };
                let Some(found) = self.until_done(asked).await else {
                    return;
                };
                let state = self.hub.lock();
                let conv = &state.truth.convs[&id];
                let sees = viewer.as_ref().is_none_or(|uid| conv.floors.contains_key(uid));
                let verdict = match found {
                    Err(_) if conv.closed || !sees => Ok(()),
                    Ok(found) if !conv.closed && sees => {
                        let floor = viewer
                            .as_ref()
                            .and_then(|uid| conv.floors.get(uid))
                            .copied()
                            .unwrap_or(0);
                        let shown = (floor + 1..=conv.head()).zip(&conv.log[floor as usize..]);
                        let same = found.len() as u64 == conv.head() - floor
                            && found.iter().zip(shown).all(|(message, (seq, entry))| {
                                let data = if entry.recalled { "null" } else { entry.data.get() };
                                (message.seq.0, message.mid, message.ts, message.kind)
                                    == (seq, entry.mid, entry.ts, entry.kind)
                                    && (&message.from, &message.cid, message.recalled)
                                        == (&entry.from, &entry.cid, entry.recalled)
                                    && message.data.get() == data
                            });
                        if same {
                            Ok(())
                        } else {
                            Err(format!("{id} has {found:#?}, not {:#?}", conv.log))
                        }
                    }
                    found => Err(format!("{viewer:?} of {id} ({:?}) is shown {found:?}", conv.kind)),
                };
                drop(state);
                if let Err(what) = verdict {
                    return self.hub.wrong(what);
                }
            }
        }
    }
}
