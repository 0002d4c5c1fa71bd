//! What users are told, for everybody: a listener of its own, and files for any web server.
//!
//! The control loop publishes a view each second; here it becomes a [`site::Site`],
//! finished pages and documents, which is all that requests read. So it answers while
//! the loop, the journal or the API hang, and says since when it heard nothing. It runs
//! on threads of its own.
//!
//! Invariant: no request here reaches the control loop, and none changes anything but
//! who is subscribed.

mod asks;
mod export;
mod page;
mod serve;
mod site;
mod tell;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use incident::status::{PageInfo, View};
use notify::Settings;
use subscribers::Subscribers;
use tokio::sync::{oneshot, watch};

use crate::listen::{self, Listener};
use crate::pages::none_or_read;
use crate::{ServerConfig, ServerError};
use asks::{Desk, Store};
use site::Site;

/// One thread that renders, sends and asks the store, and one that serves.
const THREADS: usize = 2;
/// Connections at a time: users in an outage come by thousands, but agents keep most of the files.
const CONNECTIONS_MAX: usize = 4096;
/// It is looked at this often whether the control loop still says something.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How users are told.
#[derive(Debug, Clone)]
pub struct StatusPage {
    /// Where to serve it; absent: it is only written.
    pub listen: Option<SocketAddr>,
    /// The folder that the same files are written into.
    pub export: Option<PathBuf>,
    /// Where users find it; absent: the address that is listened on.
    pub url: Option<String>,
    /// Whose it is.
    pub name: String,
}

/// The running threads.
pub(crate) struct Running {
    address: Option<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it is served.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits for their end; they end with the signal to stop.
    pub(crate) async fn finish(mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the threads of the status page ended badly");
        }
    }
}

/// Starts them, if a status page is wanted. Returns once it listens.
pub(crate) async fn start(
    config: &ServerConfig,
    views: watch::Receiver<Option<Arc<View>>>,
    stop: watch::Receiver<bool>,
) -> Result<Running, ServerError> {
    let Some(wanted) = config.status.clone() else {
        return Ok(Running {
            address: None,
            thread: None,
        });
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("status-page")
        .enable_all()
        .build()
        .map_err(ServerError::Threads)?;
    let (ready, readied) = oneshot::channel();
    let config = config.clone();
    let thread = std::thread::Builder::new()
        .name("status-page-loop".into())
        .spawn(move || {
            runtime.block_on(async move {
                match prepare(&config, wanted).await {
                    Ok(parts) => {
                        let address = parts.listener.as_ref().map(Listener::address);
                        let _ = ready.send(Ok(address));
                        run(parts, views, stop, config.drain).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
            // Not waited for: a try may hang in the system's resolver.
            runtime.shutdown_background();
        })
        .map_err(ServerError::Threads)?;
    let answer = readied.await;
    let address = answer.map_err(|error| ServerError::Threads(std::io::Error::other(error)))??;
    Ok(Running {
        address,
        thread: Some(thread),
    })
}

struct Parts {
    info: PageInfo,
    listener: Option<Listener>,
    export: Option<PathBuf>,
    /// Absent: no mail is carried, so nobody can subscribe.
    telling: Option<(Store, Arc<Settings>)>,
}

async fn prepare(config: &ServerConfig, wanted: StatusPage) -> Result<Parts, ServerError> {
    let listener = match wanted.listen {
        Some(address) => Some(listen::bind(address, config.tls.as_ref()).await?),
        None => None,
    };
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let here = listener.as_ref().map(Listener::address);
    let here = here.map_or_else(String::new, |address| format!("{scheme}://{address}"));
    let url = wanted.url.unwrap_or(here);
    let settings = none_or_read(config.notify.clone()).map_err(ServerError::Notify)?;
    let telling = match listener.is_some() && settings.couriers().carries_mail() {
        true => {
            let store = Subscribers::open(&config.data.join("subscribers.db"))?;
            Some((Store::new(store), Arc::new(settings)))
        }
        false => None,
    };
    Ok(Parts {
        info: PageInfo {
            id: site::id(&wanted.name),
            name: wanted.name,
            url: url.trim_end_matches('/').to_owned(),
            time_zone: "Etc/UTC".into(),
        },
        listener: listener.map(|it| it.with_places(CONNECTIONS_MAX)),
        export: wanted.export,
        telling,
    })
}

async fn run(
    parts: Parts,
    mut views: watch::Receiver<Option<Arc<View>>>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let (sites, site) = watch::channel(Arc::new(Site::default()));
    let mut tasks = tokio::task::JoinSet::new();
    let info = Arc::new(parts.info);
    let mut desk = None;
    if let Some((store, settings)) = parts.telling {
        let (opened, questions) = Desk::open(store.clone(), info.clone());
        desk = Some(opened);
        let teller = tell::Teller::new(store.aside(), settings, info.clone());
        tasks.spawn(teller.clone().ask(questions));
        tasks.spawn(teller.run(views.clone()));
    }
    if let Some(folder) = parts.export {
        tasks.spawn(export::run(folder, site.clone()));
    }
    let asked = desk.is_some();
    let rendering = async {
        loop {
            let view = views.borrow_and_update().clone();
            if let Some(view) = view {
                let new = Site::of(&info, &view, asked, model::Timestamp::now());
                sites.send_if_modified(|known| {
                    let is_news = **known != new;
                    if is_news {
                        *known = Arc::new(new);
                    }
                    is_news
                });
            }
            // Its end is no news: what was said last is shown, with its age.
            let changed = tokio::time::timeout(LOOK_EVERY, views.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    };
    let serving = async {
        match parts.listener {
            Some(listener) => {
                let router = serve::router(site, desk, info.clone());
                listener.serve(router, stop.clone(), drain).await;
            }
            None => drop(stop.wait_for(|stop| *stop).await),
        }
    };
    tokio::select! {
        () = rendering => {}
        () = serving => {}
    }
    tasks.shutdown().await;
}
