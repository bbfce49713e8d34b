//! The order in which requests get slots.

use super::*;

#[tokio::test]
async fn slots_go_to_the_keys_in_turn_and_skip_cancelled_requests() {
    let slots = Slots::new(1, 10);
    let first = slots.take("greedy", Turn::Further, 1).await.unwrap();
    let (served, mut order) = tokio::sync::mpsc::channel(10);
    let wait = |key: &'static str, number: u32| {
        let (slots, served) = (slots.clone(), served.clone());
        tokio::spawn(async move {
            let slot = slots.take(key, Turn::Further, 1).await.unwrap();
            served.send(number).await.unwrap();
            drop(slot);
        })
    };
    let mut waiting = Vec::new();
    for (key, number) in [("greedy", 1), ("greedy", 2), ("greedy", 3), ("other", 4)] {
        waiting.push(wait(key, number));
        while slots.state.lock().further.len() < waiting.len() {
            tokio::task::yield_now().await;
        }
    }
    waiting[1].abort();
    assert!(waiting.remove(1).await.is_err());
    drop(first);
    let mut came = Vec::new();
    while let Some(number) = order.recv().await {
        came.push(number);
        if came.len() == 3 {
            break;
        }
    }
    assert_eq!(came, [1, 4, 3]);
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(slots.state.lock().free, 1);
}

#[tokio::test]
async fn too_many_requests_of_one_key_are_refused() {
    let slots = Slots::new(0, 2);
    let mut waiting: Vec<_> = (0..2)
        .map(|_| Box::pin(slots.take("greedy", Turn::Further, 1)))
        .collect();
    for waits in &mut waiting {
        assert!(futures_poll(waits.as_mut()).await.is_none());
    }
    assert!(matches!(slots.take("greedy", Turn::Further, 1).await, Err(Full)));
    assert!(
        futures_poll(std::pin::pin!(slots.take("other", Turn::Further, 1)))
            .await
            .is_none()
    );
    drop(waiting);
    assert!(
        futures_poll(std::pin::pin!(slots.take("greedy", Turn::Further, 1)))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn some_slots_are_reserved_for_keys_that_have_none() {
    let slots = Slots::shared(8);
    assert_eq!(slots.largest(), 6);
    let mut greedy = slots.take("greedy", Turn::Further, 6).await.unwrap();
    assert!(slots.try_take(Turn::Further).is_none());
    let mut further = Box::pin(slots.take("greedy", Turn::Further, 2));
    assert!(futures_poll(further.as_mut()).await.is_none());
    let kept: Vec<_> = (0..2).map(|_| slots.try_take(Turn::First).unwrap()).collect();
    assert!(slots.try_take(Turn::First).is_none());
    let mut first = Box::pin(slots.take("other", Turn::First, 1));
    assert!(futures_poll(first.as_mut()).await.is_none());

    drop(greedy.split_one());
    assert!(
        futures_poll(first.as_mut()).await.is_some(),
        "it goes before those who have some"
    );
    assert!(futures_poll(further.as_mut()).await.is_none());
    drop(kept);
    assert!(
        futures_poll(further.as_mut()).await.is_none(),
        "what is kept stays free"
    );
    drop(greedy);
    let further = futures_poll(further.as_mut()).await.unwrap().unwrap();
    assert_eq!(slots.free(), 6);
    drop(further);
    assert_eq!(slots.free(), 8);
}

#[tokio::test]
async fn a_cancelled_request_does_not_block_others() {
    let slots = Slots::shared(4);
    let one = slots.take("one", Turn::First, 1).await.unwrap();
    let mut many = Box::pin(slots.take("many", Turn::Further, 3));
    assert!(futures_poll(many.as_mut()).await.is_none());
    let mut next = Box::pin(slots.take("next", Turn::Further, 1));
    assert!(
        futures_poll(next.as_mut()).await.is_none(),
        "it stands behind the other"
    );
    drop(many);
    drop(one);
    assert!(futures_poll(next.as_mut()).await.is_some());
    drop(next);
    assert_eq!(slots.free(), 4);
}

#[tokio::test]
async fn one_request_of_a_key_runs_at_a_time() {
    let keys = OneAtATime::default();
    let first = keys.begin(&"a").await;
    let mut second = Box::pin(keys.begin(&"a"));
    assert!(futures_poll(second.as_mut()).await.is_none());
    drop(keys.begin(&"b").await);
    drop(first);
    drop(futures_poll(second.as_mut()).await.unwrap());
    drop(second);
    drop(keys.begin(&"c").await);
    assert_eq!(keys.0.lock().len(), 1, "nothing is kept of the others");
}

/// Polls a future once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
