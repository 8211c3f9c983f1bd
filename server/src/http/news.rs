//! News: wakes those who wait at the change feed, each user's devices for themselves. A user is
//! remembered only while somebody listens.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heirloom_protocol::possession::UserId;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The bell of each user who is listened for. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct News {
    bells: Arc<Mutex<HashMap<UserId, Bell>>>,
}

#[derive(Debug, Default)]
struct Bell {
    listeners: usize,
    bell: Arc<Notify>,
}

/// One who listens. Hears everything told after it was made.
#[derive(Debug)]
pub(super) struct Listener {
    news: News,
    user: UserId,
    heard: Pin<Box<OwnedNotified>>,
}

impl News {
    /// Wakes all who listen for `user`.
    pub(super) fn tell(&self, user: UserId) {
        if let Some(bell) = self.bells().get(&user) {
            bell.bell.notify_waiters();
        }
    }

    /// Wakes everybody who listens.
    pub fn tell_everybody(&self) {
        for bell in self.bells().values() {
            bell.bell.notify_waiters();
        }
    }

    /// Listens for `user` from now on.
    pub(super) fn listen(&self, user: UserId) -> Listener {
        let mut bells = self.bells();
        let bell = bells.entry(user).or_default();
        bell.listeners += 1;
        let heard = Box::pin(Arc::clone(&bell.bell).notified_owned());
        Listener {
            news: self.clone(),
            user,
            heard,
        }
    }

    fn bells(&self) -> MutexGuard<'_, HashMap<UserId, Bell>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Waits until something was told.
    pub(super) async fn news(mut self) {
        self.heard.as_mut().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut bells = self.news.bells();
        let Some(bell) = bells.get_mut(&self.user) else {
            return;
        };
        bell.listeners -= 1;
        if bell.listeners == 0 {
            bells.remove(&self.user);
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
    async fn news_told_between_listening_and_waiting_are_heard() {
        let news = News::default();
        let (mine, other) = (news.listen(UserId(1)), news.listen(UserId(2)));
        news.tell(UserId(1));
        timeout(Duration::from_secs(5), mine.news()).await.unwrap();
        assert!(
            other.news().now_or_never().is_none(),
            "another user's news are not ours"
        );
        assert!(news.bells().is_empty(), "nobody listens any more");
    }
}
