//! Change notifier: wakes the long polls of a user's devices when the user's library changes. A
//! user takes memory only while somebody waits.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use heirloom_protocol::possession::UserId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Wakes the long polls at the change feed. Clones share the subscriptions.
#[derive(Clone, Debug, Default)]
pub struct ChangeNotifier {
    users: Arc<Mutex<HashMap<UserId, Subscribers>>>,
}

/// The subscriptions of one user.
#[derive(Debug, Default)]
struct Subscribers {
    count: usize,
    notify: Arc<Notify>,
}

/// A subscription to one user's changes. It sees every notification sent after it was made.
#[derive(Debug)]
pub(super) struct Subscription {
    notifier: ChangeNotifier,
    user: UserId,
    notified: Pin<Box<OwnedNotified>>,
}

impl ChangeNotifier {
    /// Wakes the subscriptions of `user`.
    pub(super) fn notify(&self, user: UserId) {
        if let Some(subscribers) = self.users.lock().get(&user) {
            subscribers.notify.notify_waiters();
        }
    }

    /// Wakes the subscriptions of all users.
    pub fn notify_all(&self) {
        for subscribers in self.users.lock().values() {
            subscribers.notify.notify_waiters();
        }
    }

    /// Subscribes to the changes of `user` from now on.
    pub(super) fn subscribe(&self, user: UserId) -> Subscription {
        let mut users = self.users.lock();
        let subscribers = users.entry(user).or_default();
        subscribers.count += 1;
        let notified = Box::pin(Arc::clone(&subscribers.notify).notified_owned());
        Subscription {
            notifier: self.clone(),
            user,
            notified,
        }
    }
}

impl Subscription {
    /// Waits for a notification. May be dropped at any time.
    pub(super) async fn changed(mut self) {
        self.notified.as_mut().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut users = self.notifier.users.lock();
        let Some(subscribers) = users.get_mut(&self.user) else {
            return;
        };
        subscribers.count -= 1;
        if subscribers.count == 0 {
            users.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_change_between_subscribing_and_waiting_is_not_missed() {
        let notifier = ChangeNotifier::default();
        let (mine, other) = (notifier.subscribe(UserId(1)), notifier.subscribe(UserId(2)));
        notifier.notify(UserId(1));
        timeout(Duration::from_secs(5), mine.changed())
            .await
            .unwrap();
        assert!(
            other.changed().now_or_never().is_none(),
            "another user's changes wake nobody"
        );
        assert!(
            notifier.users.lock().is_empty(),
            "no subscription is left behind"
        );
    }
}
