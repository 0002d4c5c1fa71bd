//! The calls that have a name of their own.
//!
//! Invariant: each has the deadline that fits what the control plane does for it.

use std::time::Duration;

use http::Method;

use model::{EnvironmentName, GatewayName, ReleaseId, RouteTable, ServiceName, Topology};

use super::{CHECKED_WITHIN, Client, ClientError, Fetched};
use crate::api;

impl Client {
    /// `POST /v1/releases`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn propose(
        &self,
        request: &api::ProposeRequest,
    ) -> Result<api::ReleaseView, ClientError> {
        self.send_within(Method::POST, "/v1/releases", request, CHECKED_WITHIN)
            .await
    }

    /// `POST /v1/checks`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn check(
        &self,
        request: &api::CheckRequest,
    ) -> Result<api::CheckAnswer, ClientError> {
        self.send_within(Method::POST, "/v1/checks", request, CHECKED_WITHIN)
            .await
    }

    /// `POST /v1/approvals`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn approve(
        &self,
        request: &api::ApproveRequest,
    ) -> Result<api::ReleaseView, ClientError> {
        self.post("/v1/approvals", request).await
    }

    /// `GET /v1/releases/ID/attestation`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn attestation(&self, id: ReleaseId) -> Result<api::AttestationAnswer, ClientError> {
        self.get(&format!("/v1/releases/{id}/attestation")).await
    }

    /// `POST /v1/releases/ID/countersignatures`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn countersign(
        &self,
        id: ReleaseId,
        request: &api::CountersignRequest,
    ) -> Result<api::ReleaseView, ClientError> {
        self.post(&format!("/v1/releases/{id}/countersignatures"), request)
            .await
    }

    /// `POST /v1/break-glass`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ask_break_glass(
        &self,
        request: &api::BreakGlassRequest,
    ) -> Result<api::BreakGlassView, ClientError> {
        self.post("/v1/break-glass", request).await
    }

    /// `POST /v1/break-glass/ID/confirm`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn confirm_break_glass(&self, id: u64) -> Result<api::BreakGlassView, ClientError> {
        let nothing = serde_json::json!({});
        self.post(&format!("/v1/break-glass/{id}/confirm"), &nothing)
            .await
    }

    /// `POST /v1/break-glass/ID/review`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn review_break_glass(
        &self,
        id: u64,
        request: &api::ReviewRequest,
    ) -> Result<api::BreakGlassView, ClientError> {
        self.post(&format!("/v1/break-glass/{id}/review"), request)
            .await
    }

    /// `GET /v1/releases/ID`, waiting up to `wait` for something other than `etag`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn release(
        &self,
        id: ReleaseId,
        etag: &str,
        wait: Duration,
    ) -> Result<Fetched<api::ReleaseView>, ClientError> {
        self.get_newer(&format!("/v1/releases/{id}"), etag, wait)
            .await
    }

    /// `GET /v1/releases`, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn releases(
        &self,
        service: Option<&ServiceName>,
    ) -> Result<Vec<api::ReleaseView>, ClientError> {
        match service {
            Some(service) => self.get(&format!("/v1/releases?service={service}")).await,
            None => self.get("/v1/releases").await,
        }
    }

    /// `PUT /v1/topology`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_topology(&self, topology: &Topology) -> Result<api::Done, ClientError> {
        self.send_json(Method::PUT, "/v1/topology", topology).await
    }

    /// `GET /v1/gateways/NAME/routes`, waiting up to `wait` for something other than `etag`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn routes(
        &self,
        gateway: &GatewayName,
        environment: &EnvironmentName,
        etag: &str,
        wait: Duration,
    ) -> Result<Fetched<RouteTable>, ClientError> {
        let path = format!("/v1/gateways/{gateway}/routes?environment={environment}");
        self.get_newer(&path, etag, wait).await
    }

    /// `GET /v1/releases/ID/verdict`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn verdict(&self, id: ReleaseId) -> Result<api::VerdictView, ClientError> {
        self.get(&format!("/v1/releases/{id}/verdict")).await
    }

    /// `POST /v1/releases/ID/continue`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn carry_on(
        &self,
        id: ReleaseId,
        request: &api::ContinueRequest,
    ) -> Result<api::ReleaseView, ClientError> {
        self.post(&format!("/v1/releases/{id}/continue"), request)
            .await
    }

    /// `POST /v1/plan`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan(&self, request: &api::PlanRequest) -> Result<api::PlanView, ClientError> {
        self.post("/v1/plan", request).await
    }

    /// `POST /v1/sources/NAME/ticks`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ticks(
        &self,
        source: &str,
        request: &api::TicksRequest,
    ) -> Result<api::TicksAnswer, ClientError> {
        self.post(&format!("/v1/sources/{source}/ticks"), request)
            .await
    }
}
