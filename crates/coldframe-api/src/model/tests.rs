use super::{Kind, Model};

#[test]
fn the_facts_parse() {
    let model = Model::parse().unwrap();
    assert!(model.source().starts_with("botocore 1."), "{}", model.source());
    assert_eq!(model.operations().len(), 91);
    let input = model.shape(model.operation("CreateFunction").unwrap().input.unwrap());
    assert_eq!(input.name, "CreateFunctionRequest");
    assert_eq!(model.operation("createFunction").map(|operation| &operation.name), None);
    assert_eq!(model.shape_named("Timeout").unwrap().min.as_ref().unwrap().as_u64(), Some(1));
    assert!(model.shape_named("EnvironmentVariables").unwrap().sensitive);
    assert!(matches!(model.shape_named("LayerVersionNumber").unwrap().kind, Kind::Long));
}

/// Spec: service API, section 1, table.
#[test]
fn statuses_of_success() {
    let check = |name: &str, status: u16| {
        assert_eq!(Model::get().operation(name).unwrap().status, status, "{name}")
    };
    check("CreateFunction", 201);
    check("DeleteFunction", 200);
    check("DeleteAlias", 204);
    check("InvokeAsync", 202);
    check("CreateEventSourceMapping", 202);
    check("TagResource", 204);
}

/// Spec: service API, appendix D.
#[test]
fn errors_have_status_and_case() {
    let check = |code: &str, status: u16, member: &str| {
        let error = Model::get().error(code).unwrap();
        assert_eq!((error.status, error.message_member.as_str()), (status, member), "{code}");
    };
    check("ResourceNotFoundException", 404, "Message");
    check("ProvisionedConcurrencyConfigNotFoundException", 404, "message");
    check("InvalidParameterValueException", 400, "message");
    check("RecursiveInvocationException", 400, "Message");
    check("ServiceQuotaExceededException", 402, "Message");
    check("EFSMountFailureException", 403, "Message");
    check("SnapStartTimeoutException", 408, "Message");
    check("ResourceConflictException", 409, "message");
    check("EFSIOException", 410, "Message");
    check("PreconditionFailedException", 412, "message");
    check("RequestTooLargeException", 413, "message");
    check("UnsupportedMediaTypeException", 415, "message");
    check("TooManyRequestsException", 429, "message");
    check("ServiceException", 500, "Message");
    check("InvalidZipFileException", 502, "Message");
    check("ResourceNotReadyException", 502, "message");
    assert!(Model::get().error("ValidationException").is_none());
    let wire = |member: &str| {
        let error = Model::get().error("TooManyRequestsException").unwrap();
        error.members.iter().find(|other| other.name == member).unwrap().wire.as_str()
    };
    assert_eq!(wire("retryAfterSeconds"), "Retry-After");
    assert_eq!(wire("Reason"), "Reason");
}
