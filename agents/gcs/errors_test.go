package gcs

import "github.com/offsite-backup/offsite/core"

const mayNotDelete = "tester@fake.iam.gserviceaccount.com does not have storage.objects.delete access to the Google Cloud Storage object. Permission 'storage.objects.delete' denied on resource (or it may not exist)."

// refusals are what the service answers to what it does not grant.
var refusals = []struct {
	status  int
	reason  string
	message string
	want    core.ErrorKind
}{
	{307, "", "", core.ErrUnsupported},
	{400, "invalid", `Provided CRC32C "AAAAAA==" doesn't match calculated CRC32C "yZRlqg==".`, core.ErrDamaged},
	{400, "invalid", "Invalid argument.", core.ErrUnsupported},
	{400, "required", "Bucket is a requester pays bucket but no user project provided.", core.ErrUnsupported},
	{401, "authError", "Invalid Credentials", core.ErrUnauthenticated},
	{401, "required", "Anonymous caller does not have storage.objects.list access to the Google Cloud Storage bucket.", core.ErrUnauthenticated},
	{403, "forbidden", mayNotDelete, core.ErrDenied},
	{403, "quotaExceeded", "The project is over its quota.", core.ErrNoSpace},
	{403, "rateLimitExceeded", "The project is over its rate.", core.ErrThrottled},
	{403, "userRateLimitExceeded", "User is over its rate.", core.ErrThrottled},
	{403, "retentionPolicyNotMet", "Object 'b/o' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten until 2030-01-01T00:00:00Z", core.ErrLocked},
	{403, "forbidden", "Object 'b/o' is subject to bucket's retention policy and cannot be deleted, overwritten or archived until 2030-01-01T00:00:00Z", core.ErrLocked},
	{403, "objectUnderActiveHold", "Object 'b/o' is under active Temporary hold and cannot be deleted, overwritten or archived until hold is removed.", core.ErrLocked},
	{404, "notFound", "The specified bucket does not exist.", core.ErrNoPlace},
	{404, "notFound", "No such object: b/o", core.ErrNotFound},
	{405, "methodNotAllowed", "Not allowed.", core.ErrUnsupported},
	{408, "requestTimeout", "Too slow.", core.ErrUnavailable},
	{409, "conflict", "Somebody else is at it.", core.ErrUnavailable},
	{410, "gone", "The session is gone.", core.ErrNotFound},
	{412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.", core.ErrExists},
	{416, "requestedRangeNotSatisfiable", "Request range not satisfiable", core.ErrChanged},
	{429, "rateLimitExceeded", "The object exceeded the rate limit for object mutation operations.", core.ErrThrottled},
	{500, "backendError", "Backend Error", core.ErrUnavailable},
	{500, "internalError", "We encountered an internal error. Please try again.", core.ErrUnavailable},
	{501, "notImplemented", "Not implemented.", core.ErrUnsupported},
	{502, "badGateway", "Bad gateway.", core.ErrUnavailable},
	{503, "backendError", "We encountered an internal error. Please try again.", core.ErrUnavailable},
	{503, "uploadBrokenConnection", "The upload broke off.", core.ErrUnavailable},
	{504, "gatewayTimeout", "Gateway timeout.", core.ErrUnavailable},
}
