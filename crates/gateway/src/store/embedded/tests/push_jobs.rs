//! Push jobs: made with their message, kept until they are done with.

use super::kit::{Kit, NOON, notice, pair, to_team, uid, uids, with_cid};
use crate::ids::{ConvId, Seq};
use crate::store::{Append, DueJobs, JobId, JobOutcome, JobRecipients, PushOrder, Store, TeamChange};

async fn due(kit: &Kit, now: u64) -> DueJobs {
    kit.store.due_jobs(now, Vec::new(), 100).await.unwrap()
}

fn ids(found: &DueJobs) -> Vec<JobId> {
    found.jobs.iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn a_job_is_made_with_its_message_and_survives() {
    let mut kit = Kit::new();
    let order = with_cid(pair("alice", "bob"), "c");
    let [wrote, again] = kit
        .append_all(vec![order.clone(), order])
        .await
        .try_into()
        .unwrap();
    let wrote = wrote.unwrap();
    assert_eq!(again.unwrap().push, None, "a duplicate makes no job");
    kit.reopen().await;
    let found = due(&kit, NOON).await;
    let [job] = &found.jobs[..] else {
        panic!("one job, not {found:?}")
    };
    assert_eq!(Some(job.id), wrote.push);
    assert_eq!(
        (job.message.mid, job.message.conv, job.message.seq),
        (wrote.mid, wrote.conv, wrote.seq)
    );
    assert!(matches!(&job.to, JobRecipients::User(to) if *to == uid("bob")));
    assert_eq!((job.attempts, job.expires), (0, NOON + 86_400_000));
    kit.finish(vec![
        (job.id, JobOutcome::Finished),
        (job.id, JobOutcome::Finished),
    ])
    .await
    .unwrap();
    let next = kit.append(notice("carol")).await.unwrap().push.unwrap();
    assert_ne!(next, job.id, "an id is not given twice");
    kit.finish(vec![(job.id, JobOutcome::Finished)]).await.unwrap();
    assert_eq!(ids(&due(&kit, NOON).await), [next]);
}

#[tokio::test]
async fn nobody_is_told_of_what_he_sent_himself() {
    let kit = Kit::new();
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
    assert!(due(&kit, u64::MAX).await.jobs.is_empty());
}

#[tokio::test]
async fn what_failed_is_due_later_and_what_is_dead_never() {
    let mut kit = Kit::new();
    let orders = (0..4).map(|number| notice(&format!("u{number}"))).collect();
    let told = kit.append_all(orders).await;
    let jobs: Vec<_> = told.into_iter().map(|told| told.unwrap().push.unwrap()).collect();
    assert_eq!(ids(&due(&kit, NOON).await), jobs, "oldest first");
    assert_eq!(
        ids(&kit.store.due_jobs(NOON, vec![jobs[0], jobs[2]], 1).await.unwrap()),
        [jobs[1]]
    );
    assert!(due(&kit, NOON - 1).await.jobs.is_empty());
    assert_eq!(due(&kit, NOON - 1).await.next, Some(NOON));

    let outcomes = vec![
        (jobs[0], JobOutcome::Retry { at: NOON + 50 }),
        (jobs[1], JobOutcome::Dead),
        (jobs[1], JobOutcome::Dead),
        (jobs[2], JobOutcome::Finished),
        (JobId(999), JobOutcome::Dead),
    ];
    kit.finish(outcomes).await.unwrap();
    kit.reopen().await;
    let found = due(&kit, NOON + 49).await;
    assert_eq!(
        (ids(&found), found.next, found.dead),
        (vec![jobs[3]], Some(NOON + 50), 1)
    );
    let found = due(&kit, NOON + 50).await;
    assert_eq!((ids(&found), found.next), (vec![jobs[3], jobs[0]], None));
    assert_eq!(found.jobs[1].attempts, 1);
}

#[tokio::test]
async fn a_teams_job_is_worked_off_in_pages() {
    let kit = Kit::new();
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
        kit.store
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
        kit.store
            .members_page(ConvId([1; 16]), Seq(1), None, 3)
            .await
            .unwrap()
            .is_empty()
    );

    let job = wrote.push.unwrap();
    let advanced = JobOutcome::Advanced {
        after: uid("c"),
        failed: uids(&["a"]),
        retry_at: NOON + 10,
    };
    kit.finish(vec![(job, advanced)]).await.unwrap();
    let found = due(&kit, NOON + 10).await;
    let [rest, failed] = &found.jobs[..] else {
        panic!("two jobs, not {found:?}")
    };
    assert!(matches!(&rest.to, JobRecipients::Team(_, Some(after)) if *after == uid("c")));
    assert!(matches!(&failed.to, JobRecipients::User(to) if *to == uid("a")));
    assert_eq!((rest.id, rest.attempts), (job, 0));
    assert_eq!((failed.attempts, failed.expires), (1, rest.expires));
    assert_eq!(failed.message.mid, wrote.mid);

    kit.change("t", TeamChange::Delete).await.unwrap();
    assert!(
        due(&kit, u64::MAX).await.jobs.is_empty(),
        "nobody may read it any more"
    );
    let late = JobOutcome::Advanced {
        after: uid("d"),
        failed: uids(&["c"]),
        retry_at: NOON,
    };
    kit.finish(vec![(job, late)]).await.unwrap();
    assert!(due(&kit, u64::MAX).await.jobs.is_empty());
}

/// The clock was ahead when a job was made or put off, and the program was started again with a right one.
#[tokio::test]
async fn deadlines_of_a_former_run_are_bounded() {
    let mut kit = Kit::new();
    let ahead = NOON + 365 * 86_400_000;
    kit.jump(ahead);
    kit.reopen().await;
    let order = |to| Append {
        push: Some(PushOrder {
            expires: ahead + 86_400_000,
        }),
        ..pair("alice", to)
    };
    let new = kit.append(order("bob")).await.unwrap().push.unwrap();
    let retried = kit.append(order("carol")).await.unwrap().push.unwrap();
    let retry = JobOutcome::Retry { at: ahead + 60_000 };
    kit.finish(vec![(retried, retry)]).await.unwrap();
    let stopped = kit.stop().await;
    kit.jump(NOON);
    kit.open(stopped);
    kit.catch_up().await;
    // As long as a job waits at most, and as long as it lives.
    let found = due(&kit, NOON + 75_000).await;
    assert_eq!(ids(&found), [new, retried]);
    assert!(found.jobs.iter().all(|job| job.expires == NOON + 86_400_000));
}

/// A job is due by the steady clock, in a conversation too whose newest message is from a clock that was ahead.
#[tokio::test]
async fn a_job_is_due_at_once_wherever_the_clock_was() {
    let kit = Kit::new();
    kit.jump(NOON + 3_600_000);
    kit.append(pair("alice", "bob")).await.unwrap();
    kit.jump(NOON);
    kit.append(pair("alice", "bob")).await.unwrap();
    assert_eq!(due(&kit, NOON).await.jobs.len(), 2);
}
