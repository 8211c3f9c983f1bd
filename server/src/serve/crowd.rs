//! The crowd: how many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections in all. Each costs a socket and some memory; those beyond wait in the kernel's
/// queue.
const CONNECTIONS_MAX: usize = 1024;

/// Connections from one address, so that nobody alone can be the whole crowd. A proxy on this
/// machine speaks for many, so loopback is not counted.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// Counts connections.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    room: Arc<Semaphore>,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place. Free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Crowd,
    address: IpAddr,
    _room: OwnedSemaphorePermit,
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            addresses: Arc::default(),
        }
    }

    /// Waits until there is room for one more.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.room)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    /// A place for a connection from `address`; none if it has too many.
    pub(super) fn place(&self, room: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        if !address.is_loopback() {
            let mut addresses = self.addresses();
            let count = addresses.entry(address).or_default();
            if *count >= CONNECTIONS_PER_ADDRESS_MAX {
                return None;
            }
            *count += 1;
        }
        Some(Place {
            crowd: self.clone(),
            address,
            _room: room,
        })
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.crowd.addresses();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_address_is_the_whole_crowd_except_this_machine() {
        let crowd = Crowd::new();
        let (far, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut places = Vec::new();
        for _ in 0..CONNECTIONS_PER_ADDRESS_MAX {
            places.push(crowd.place(crowd.room().await, far).unwrap());
        }
        assert!(crowd.place(crowd.room().await, far).is_none());
        // The same address, as a socket of both families shows it.
        assert!(
            crowd
                .place(crowd.room().await, "::ffff:192.0.2.1".parse().unwrap())
                .is_none()
        );
        assert!(crowd.place(crowd.room().await, other).is_some());
        places.pop();
        places.push(
            crowd
                .place(crowd.room().await, far)
                .expect("a place became free"),
        );
        for _ in 0..2 * CONNECTIONS_PER_ADDRESS_MAX {
            places.push(
                crowd
                    .place(crowd.room().await, IpAddr::from([127, 0, 0, 1]))
                    .expect("loopback is not counted"),
            );
        }
        drop(places);
        assert!(crowd.addresses().is_empty());
        assert_eq!(crowd.room.available_permits(), CONNECTIONS_MAX);
    }
}
