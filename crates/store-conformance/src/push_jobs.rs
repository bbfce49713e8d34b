//! Push jobs are created with their message, and kept until they are finished.

use mynah_store::ids::{ConvId, Seq};
use mynah_store::{
    Append, Appended, DueJobs, JobCounts, JobId, JobOutcome, JobQuery, JobRecipients, JobsFrom, Lane,
    PushOrder, TeamChange, ToTell,
};

use crate::kit::{Kit, NOON, Stores, device, due_in, notice, pair, recall, to_team, uid, uids, with_cid};

/// The jobs that are due within this time.
async fn due(kit: &Kit, within_ms: u64) -> DueJobs {
    lane(kit, Lane::Normal, within_ms).await
}

async fn lane(kit: &Kit, lane: Lane, within_ms: u64) -> DueJobs {
    kit.store().claim_jobs(due_in(lane, within_ms), 0).await.unwrap()
}

fn ids(found: &DueJobs) -> Vec<JobId> {
    found.jobs.iter().map(|job| job.id).collect()
}

async fn counts(kit: &Kit) -> JobCounts {
    kit.store().job_counts().await.unwrap()
}

pub async fn a_job_is_created_with_its_message_and_survives_a_restart(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let order = with_cid(pair("alice", "bob"), "c");
    let [wrote, again] = kit
        .append_all(vec![order.clone(), order])
        .await
        .try_into()
        .unwrap();
    let wrote = wrote.unwrap();
    assert_eq!(again.unwrap().push, None, "a duplicate makes no job");
    kit.reopen().await;
    kit.set_clock(NOON + 7);
    let found = due(&kit, 0).await;
    let [job] = &found.jobs[..] else {
        panic!("one job, not {found:?}")
    };
    assert_eq!(Some(job.id), wrote.push);
    assert_eq!((job.mid, job.conv, job.seq), (wrote.mid, wrote.conv, wrote.seq));
    assert!(matches!(&job.to, JobRecipients::User(to) if *to == uid("bob")));
    assert_eq!(job.from, Some(uid("alice")));
    assert_eq!(
        (job.attempts, job.age_ms, job.expires_in_ms),
        (0, 7, 86_400_000 - 7)
    );
    kit.finish(vec![
        (job.id, JobOutcome::Finished),
        (job.id, JobOutcome::Finished),
    ])
    .await
    .unwrap();
    let next = kit.append(notice("carol")).await.unwrap().push.unwrap();
    assert_ne!(next, job.id, "an id is not given twice");
    kit.finish(vec![(job.id, JobOutcome::Finished)]).await.unwrap();
    assert_eq!(ids(&due(&kit, 0).await), [next]);
}

pub async fn senders_are_not_notified_of_their_own_messages(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.team("t", &["a"]).await;
    let own = Append {
        from: Some(uid("a")),
        ..notice("a")
    };
    let quiet = Append {
        push: None,
        ..pair("a", "b")
    };
    for told in kit
        .append_all(vec![pair("a", "a"), to_team("a", "t"), own, quiet])
        .await
    {
        assert_eq!(told.unwrap().push, None);
    }
    assert!(kit.all_jobs().await.is_empty());
}

pub async fn jobs_wait_in_their_lane_until_they_are_due(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let with = |delay_ms, urgent| Append {
        push: Some(PushOrder {
            expires_in_ms: 60_000,
            delay_ms,
            urgent,
        }),
        ..notice("u")
    };
    let orders = vec![with(500, false), with(0, true), with(0, false)];
    let told = kit.append_all(orders).await;
    let jobs: Vec<_> = told.into_iter().map(|told| told.unwrap().push.unwrap()).collect();
    assert_eq!(ids(&lane(&kit, Lane::Urgent, 0).await), [jobs[1]]);
    let found = due(&kit, 0).await;
    assert_eq!((ids(&found), found.next_in_ms), (vec![jobs[2]], Some(500)));
    let found = due(&kit, 500).await;
    assert_eq!((ids(&found), found.next_in_ms), (vec![jobs[2], jobs[0]], None));
    let after_third = JobQuery {
        from: JobsFrom::After(found.jobs[0].due, jobs[2]),
        ..due_in(Lane::Normal, 500)
    };
    let behind = kit.store().claim_jobs(after_third, 0).await.unwrap();
    assert_eq!(ids(&behind), [jobs[0]], "behind what was found before");
    let of = |user, limit| JobQuery {
        uid: Some(uid(user)),
        limit,
        ..due_in(Lane::Normal, 500)
    };
    let first = kit.store().claim_jobs(of("u", 1), 0).await.unwrap();
    assert_eq!(ids(&first), [jobs[2]]);
    let others = kit.store().claim_jobs(of("v", 9), 0).await.unwrap();
    assert!(others.jobs.is_empty());
    kit.set_clock(NOON + 501);
    let since = async |ms| {
        let query = JobQuery {
            from: JobsFrom::DueSince(ms),
            ..due_in(Lane::Normal, 0)
        };
        ids(&kit.store().claim_jobs(query, 0).await.unwrap())
    };
    assert_eq!(since(0).await, []);
    assert_eq!(since(1).await, [jobs[0]]);
    assert_eq!(since(501).await, [jobs[2], jobs[0]]);
}

pub async fn a_claimed_job_is_nobody_elses_until_its_lease_ends(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let told = kit
        .append_all((0..4).map(|n| notice(&format!("u{n}"))).collect())
        .await;
    let jobs: Vec<_> = told.into_iter().map(|told| told.unwrap().push.unwrap()).collect();
    let claim = async |limit| {
        let query = JobQuery {
            limit,
            ..due_in(Lane::Normal, u64::MAX)
        };
        ids(&kit.store().claim_jobs(query, 1_000).await.unwrap())
    };
    assert_eq!(claim(2).await, jobs[..2]);
    assert_eq!(claim(9).await, jobs[2..], "not those that were claimed");
    assert_eq!(claim(9).await, []);
    kit.store().release_jobs(vec![jobs[3]]);
    assert_eq!(claim(9).await, [jobs[3]]);
    let later = JobOutcome::Later { in_ms: 0 };
    kit.finish(vec![(jobs[0], later), (jobs[1], JobOutcome::Finished)])
        .await
        .unwrap();
    assert_eq!(claim(9).await, [jobs[0]], "the lease ends with the outcome");
    kit.store().extend_leases(2_000);
    kit.set_clock(NOON + 1_999);
    assert_eq!(claim(9).await, []);
    kit.set_clock(NOON + 2_000);
    assert_eq!(claim(9).await, [jobs[0], jobs[2], jobs[3]], "their time is over");
}

pub async fn failed_jobs_are_due_later_and_dead_jobs_never(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let orders = (0..4).map(|number| notice(&format!("u{number}"))).collect();
    let told = kit.append_all(orders).await;
    let jobs: Vec<_> = told.into_iter().map(|told| told.unwrap().push.unwrap()).collect();
    assert_eq!(ids(&due(&kit, 0).await), jobs, "oldest first");

    let outcomes = vec![
        (jobs[0], JobOutcome::Retry { in_ms: 50 }),
        (jobs[1], JobOutcome::Dead),
        (jobs[1], JobOutcome::Dead),
        (jobs[2], JobOutcome::Finished),
        (jobs[3], JobOutcome::Later { in_ms: 20 }),
        (JobId(999), JobOutcome::Dead),
    ];
    kit.finish(outcomes).await.unwrap();
    kit.reopen().await;
    assert_eq!(due(&kit, 19).await.next_in_ms, Some(20));
    kit.set_clock(NOON + 49);
    let found = due(&kit, 0).await;
    assert_eq!((ids(&found), found.next_in_ms), (vec![jobs[3]], Some(1)));
    assert_eq!(counts(&kit).await, JobCounts { waiting: 2, dead: 1 });
    let found = due(&kit, 1).await;
    assert_eq!((ids(&found), found.next_in_ms), (vec![jobs[3], jobs[0]], None));
    let attempts: Vec<_> = found.jobs.iter().map(|job| job.attempts).collect();
    assert_eq!(attempts, [0, 1], "looking again is no attempt");
}

pub async fn the_job_of_a_team_is_handled_in_pages(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let members = uids(&["a", "b", "c", "d"]);
    kit.change(
        "t",
        TeamChange::Put {
            name: "T".into(),
            members,
        },
    )
    .await
    .unwrap();
    let wrote = kit.append(to_team("b", "t")).await.unwrap();
    kit.change("t", TeamChange::Add(uids(&["bb"]))).await.unwrap();
    let page = async |after: Option<&str>, limit| {
        kit.store()
            .members_page(wrote.conv, wrote.seq, after.map(uid), limit)
            .await
            .unwrap()
    };
    assert_eq!(
        page(None, 3).await,
        uids(&["a", "b", "c"]),
        "not who joined after the message"
    );
    assert_eq!(page(Some("c"), 3).await, uids(&["d"]));
    assert!(
        kit.store()
            .members_page(ConvId([1; 16]), Seq(1), None, 3)
            .await
            .unwrap()
            .is_empty()
    );

    let job = wrote.push.unwrap();
    let advanced = JobOutcome::Advanced {
        after: uid("c"),
        jobs: vec![(uid("a"), 10)],
    };
    kit.finish(vec![(job, advanced)]).await.unwrap();
    assert_eq!(due(&kit, 9).await.next_in_ms, Some(10));
    let found = due(&kit, 10).await;
    let [rest, one] = &found.jobs[..] else {
        panic!("two jobs, not {found:?}")
    };
    assert!(matches!(&rest.to, JobRecipients::Team(Some(after)) if *after == uid("c")));
    assert!(matches!(&one.to, JobRecipients::User(to) if *to == uid("a")));
    assert_eq!((rest.id, rest.attempts), (job, 0));
    assert_eq!((one.age_ms, one.expires_in_ms), (rest.age_ms, rest.expires_in_ms));
    assert_eq!(one.mid, wrote.mid);

    kit.change("t", TeamChange::Delete).await.unwrap();
    // The messages of the team are deleted after the change, between two batches of the writer.
    kit.catch_up().await;
    assert!(kit.all_jobs().await.is_empty(), "nobody may read it any more");
    let counts = kit.store().job_counts().await.unwrap();
    assert_eq!(counts.waiting, 0, "no row stays, not even without its message");
    let late = JobOutcome::Advanced {
        after: uid("d"),
        jobs: vec![(uid("c"), 0)],
    };
    kit.finish(vec![(job, late)]).await.unwrap();
    assert!(kit.all_jobs().await.is_empty());
}

pub async fn jobs_delivered_to_a_dead_connection_are_due_again(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.team("t", &["a", "b", "c"]).await;
    let old = vec![pair("a", "b"), to_team("a", "t")];
    let [pair_old, team_old] = kit.append_all(old).await.try_into().unwrap();
    kit.set_clock(NOON + 9);
    let new = vec![pair("a", "b"), to_team("a", "t"), to_team("a", "t")];
    let [pair_new, team_new, team_begun] = kit.append_all(new).await.try_into().unwrap();
    let id = |told: &Result<Appended, _>| told.as_ref().unwrap().push.unwrap();
    let delivered = JobOutcome::Delivered { for_ms: 50_000 };
    let mut outcomes: Vec<_> = [&pair_old, &team_old, &pair_new, &team_new]
        .map(|told| (id(told), delivered.clone()))
        .into();
    // This job has handled b, but not c.
    outcomes.push((
        id(&team_begun),
        JobOutcome::Advanced {
            after: uid("b"),
            jobs: Vec::new(),
        },
    ));
    kit.finish(outcomes).await.unwrap();
    assert_eq!(ids(&due(&kit, u64::MAX).await), [id(&team_begun)]);
    assert_eq!(counts(&kit).await.waiting, 1, "what was delivered does not wait");

    for _ in 0..2 {
        kit.revive("b", 1).await;
        let found = due(&kit, 0).await;
        let to_b = found.jobs.iter().filter_map(|job| match &job.to {
            JobRecipients::User(to) if *to == uid("b") => Some(job.mid),
            _ => None,
        });
        let mut to_b: Vec<_> = to_b.collect();
        to_b.sort_unstable();
        let new = [&pair_new, &team_new, &team_begun].map(|told| told.as_ref().unwrap().mid);
        assert_eq!(to_b, new, "each once, and not what was heard before");
    }
    kit.revive("c", 1).await;
    kit.revive("a", 1).await;
    let found = due(&kit, 0).await;
    let of = |user: &str| {
        let to = |job: &&mynah_store::PushJob| matches!(&job.to, JobRecipients::User(to) if *to == uid(user));
        found.jobs.iter().filter(to).count()
    };
    assert_eq!((of("c"), of("a")), (1, 0), "the sender is not told");
    assert_eq!(lane(&kit, Lane::Delivered, u64::MAX).await.jobs.len(), 3);
}

pub async fn a_call_that_is_revived_is_urgent_again(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let call = Append {
        kind: 18,
        ..pair("a", "b")
    };
    let told = kit.append_all(vec![pair("a", "b"), call]).await;
    let jobs = told.into_iter().map(|told| told.unwrap().push.unwrap());
    let jobs: Vec<_> = jobs.collect();
    let delivered = JobOutcome::Delivered { for_ms: 50_000 };
    let outcomes = jobs.iter().map(|job| (*job, delivered.clone()));
    kit.finish(outcomes.collect()).await.unwrap();
    kit.revive("b", 60_000).await;
    for (of, job) in [Lane::Normal, Lane::Urgent].into_iter().zip(jobs) {
        assert_eq!(ids(&lane(&kit, of, 0).await), [job], "{of:?}");
    }
}

async fn told(kit: &Kit, user: &str, wrote: &Appended) -> &'static str {
    match kit
        .store()
        .to_tell(uid(user), wrote.conv, wrote.seq)
        .await
        .unwrap()
    {
        ToTell::Yes(message, _) => {
            assert_eq!(message.mid, wrote.mid);
            "yes"
        }
        ToTell::Acknowledged => "acknowledged",
        ToTell::Moot => "moot",
    }
}

pub async fn users_who_have_acknowledged_or_read_are_not_notified(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let (phone, tablet) = (device("b", "phone"), device("b", "tablet"));
    kit.register_device(&phone).await;
    let first = kit.append(pair("a", "b")).await.unwrap();
    let second = kit.append(pair("a", "b")).await.unwrap();
    let third = kit.append(pair("a", "b")).await.unwrap();
    // A new device has missed nothing, but it has not acknowledged anything.
    kit.register_device(&tablet).await;
    assert_eq!(told(&kit, "b", &first).await, "yes");
    kit.ack(&phone, first.conv, 1).await.unwrap();
    kit.reopen().await;
    assert_eq!(told(&kit, "b", &first).await, "acknowledged");
    assert_eq!(told(&kit, "b", &second).await, "yes");
    kit.read(&tablet, first.conv, 2).await.unwrap();
    assert_eq!(told(&kit, "b", &second).await, "acknowledged");
    let unread = match kit.store().to_tell(uid("b"), third.conv, third.seq).await {
        Ok(ToTell::Yes(_, unread)) => unread,
        other => panic!("{other:?}"),
    };
    assert_eq!(unread, 1, "as it is now");
}

pub async fn nobody_is_notified_of_recalled_or_deleted_messages(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let recalled = kit.append(pair("a", "b")).await.unwrap();
    let stays = kit.append(pair("a", "b")).await.unwrap();
    kit.recall(recall(recalled.mid, "a")).await.unwrap();
    assert_eq!(told(&kit, "b", &recalled).await, "moot");
    assert_eq!(told(&kit, "b", &stays).await, "yes");

    let of_kind = |kind| Append {
        kind,
        ..pair("a", "b")
    };
    let over = kit.append(of_kind(18)).await.unwrap();
    assert_eq!(told(&kit, "b", &over).await, "yes");
    kit.append(of_kind(19)).await.unwrap();
    let rings = kit.append(of_kind(18)).await.unwrap();
    assert_eq!(told(&kit, "b", &over).await, "moot", "hung up");
    assert_eq!(told(&kit, "b", &rings).await, "yes", "another call");

    kit.team("t", &["a", "b", "c"]).await;
    let wrote = kit.append(to_team("a", "t")).await.unwrap();
    kit.change("t", TeamChange::Remove(uids(&["b"]))).await.unwrap();
    assert_eq!(told(&kit, "b", &wrote).await, "moot", "removed");
    kit.change("t", TeamChange::Add(uids(&["b"]))).await.unwrap();
    assert_eq!(told(&kit, "b", &wrote).await, "moot", "came back later");
    assert_eq!(told(&kit, "c", &wrote).await, "yes");
    kit.change("t", TeamChange::Delete).await.unwrap();
    assert_eq!(told(&kit, "c", &wrote).await, "moot", "deleted");
}

/// The clock was ahead when a job was created or postponed, and correct when the program was started again.
pub async fn deadlines_of_an_earlier_run_are_limited(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let ahead = NOON + 365 * 86_400_000;
    kit.jump(ahead);
    kit.reopen().await;
    let order = |to| Append {
        push: Some(PushOrder {
            expires_in_ms: 86_400_000,
            delay_ms: 0,
            urgent: false,
        }),
        ..pair("alice", to)
    };
    let new = kit.append(order("bob")).await.unwrap().push.unwrap();
    let retried = kit.append(order("carol")).await.unwrap().push.unwrap();
    let retry = JobOutcome::Retry { in_ms: 60_000 };
    kit.finish(vec![(retried, retry)]).await.unwrap();
    let stopped = kit.stop().await;
    kit.jump(NOON);
    kit.open(stopped);
    kit.catch_up().await;
    // The longest wait and the longest life of a job.
    let found = due(&kit, 75_000).await;
    assert_eq!(ids(&found), [new, retried]);
    assert!(found.jobs.iter().all(|job| job.expires_in_ms == 86_400_000));
}

/// A job is due by the steady clock, even if the newest message of its conversation has a time from a clock
/// that was ahead.
pub async fn a_job_is_due_at_once_wherever_the_clock_was(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.jump(NOON + 3_600_000);
    kit.append(pair("alice", "bob")).await.unwrap();
    kit.jump(NOON);
    kit.append(pair("alice", "bob")).await.unwrap();
    assert_eq!(due(&kit, 0).await.jobs.len(), 2);
}
