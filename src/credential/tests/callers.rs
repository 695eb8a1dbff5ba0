//! Many callers at once: each is served what was made of their own token, and nobody waits for more than one fetch.

use super::*;

/// An endpoint that makes `for-NAME` of the token of NAME.
fn exchanging(issuer: &Issuer) {
    issuer.answer(
        "/token",
        Answer::Made(|request| {
            let form = request.split('&').find_map(|pair| pair.strip_prefix("subject_token="));
            let name = form.unwrap().rsplit('.').next().unwrap();
            json!({ "access_token": format!("for-{name}"), "expires_in": 3600 })
        }),
    );
}

/// What each of many requests gets that all began before the endpoint answered any of them; callers take turns.
async fn at_once(
    issuer: &Issuer,
    source: &Arc<TokenSource>,
    callers: &[&str],
    requests: usize,
) -> Vec<(String, String)> {
    let target = Arc::new(Target::default());
    issuer.gate.forget_permits(1_000);
    let barrier = Arc::new(Barrier::new(requests + 1));
    let waiting: Vec<_> = (0..requests)
        .map(|number| {
            let name = callers[number % callers.len()].to_owned();
            let (source, target, barrier) = (source.clone(), target.clone(), barrier.clone());
            tokio::spawn(async move {
                let token = subject(&name, 3600);
                let obtained = source.credential(&target, Some(&token)).token(Some(&of(&token)));
                barrier.wait().await;
                (name, get(obtained).await.unwrap())
            })
        })
        .collect();
    barrier.wait().await;
    issuer.gate.add_permits(1_000);
    let mut served = Vec::new();
    for one in waiting {
        served.push(one.await.unwrap());
    }
    served
}

#[tokio::test]
async fn two_callers_at_once_are_two_fetches_and_each_is_served_their_own() {
    let issuer = Issuer::start().await;
    exchanging(&issuer);
    let source = source(&issuer, exchange(), &Clock::manual());
    let served = at_once(&issuer, &source, &["ann", "bob"], 64).await;
    assert_eq!(served.len(), 64);
    for (name, token) in served {
        assert_eq!(token, format!("for-{name}"));
    }
    assert_eq!(issuer.hits(), 2, "one for each, however many wait");
    assert_eq!(source.status().cached, 2);
}

#[tokio::test]
async fn callers_who_make_room_for_others_while_they_wait_are_served_their_own_too() {
    let issuer = Issuer::start().await;
    exchanging(&issuer);
    let small = Settings { capacity: 1, ..settings(issuer.url("/token"), exchange()) };
    let source = source_of(small, &Clock::manual());
    let names: Vec<String> = (0..200).map(|number| format!("caller-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let served = at_once(&issuer, &source, &names, 400).await;
    for (name, token) in served {
        assert_eq!(token, format!("for-{name}"));
    }
    // One for each of the sixteen shards.
    assert!(source.status().cached <= 16, "{}", source.status().cached);
    assert!((200..=400).contains(&issuer.hits()), "{}", issuer.hits());
}
