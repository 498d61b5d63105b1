package s3

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	smithy "github.com/aws/smithy-go"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// kinds are what codes mean where the status does not say it:
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var kinds = map[string]core.ErrorKind{
	"NoSuchBucket":                 core.ErrNoPlace,
	"AuthorizationHeaderMalformed": core.ErrUnsupported, // of another region
	"InvalidObjectState":           core.ErrUnsupported, // in an archive class

	"ExpiredToken":          core.ErrUnauthenticated,
	"InvalidAccessKeyId":    core.ErrUnauthenticated,
	"InvalidToken":          core.ErrUnauthenticated,
	"InvalidTokenId":        core.ErrUnauthenticated,
	"SignatureDoesNotMatch": core.ErrUnauthenticated,

	"RequestExpired":       core.ErrClock,
	"RequestTimeTooSkewed": core.ErrClock,

	"RequestLimitExceeded": core.ErrThrottled,
	"SlowDown":             core.ErrThrottled,
	"SlowDownRead":         core.ErrThrottled,
	"SlowDownWrite":        core.ErrThrottled,
	"Throttling":           core.ErrThrottled,
	"ThrottlingException":  core.ErrThrottled,

	"BadDigest":                   core.ErrDamaged,
	"XAmzContentChecksumMismatch": core.ErrDamaged,
	"IncompleteBody":              core.ErrUnavailable,
	"InternalError":               core.ErrUnavailable,
	"InvalidPart":                 core.ErrUnavailable, // another process sent it meanwhile
	"RequestTimeout":              core.ErrUnavailable,

	"XMinioStorageFull": core.ErrNoSpace,
}

// rights are what the operations need.
var rights = map[string]string{
	"AbortMultipartUpload":    "s3:AbortMultipartUpload",
	"CompleteMultipartUpload": "s3:PutObject",
	"CreateMultipartUpload":   "s3:PutObject",
	"DeleteObject":            "s3:DeleteObject",
	"GetObject":               "s3:GetObject, and s3:ListBucket to be told what is not there",
	"HeadObject":              "s3:GetObject, and s3:ListBucket to be told what is not there",
	"ListMultipartUploads":    "s3:ListBucketMultipartUploads",
	"ListObjectsV2":           "s3:ListBucket",
	"ListParts":               "s3:ListMultipartUploadParts",
	"PutObject":               "s3:PutObject",
	"UploadPart":              "s3:PutObject",
}

// translate says what an error of the SDK means. One that has a kind, such as the
// source's, stays as it is.
func translate(err error) error {
	if err == nil || core.KindOf(err) != "" {
		return err
	}
	var response *awshttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() != 0 {
		return answered(response, err)
	}
	return transport.Unanswered(err, "region and endpoint; where a server has no host for each bucket, path_style=true")
}

// answered is an error that the server told.
func answered(response *awshttp.ResponseError, err error) error {
	e := &core.Error{
		Kind:      kindOf(response.HTTPStatusCode(), ""),
		RequestID: response.ServiceRequestID(),
		Err:       transport.Quiet{Cause: err},
	}
	var said []string
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Code, e.Kind = api.ErrorCode(), kindOf(response.HTTPStatusCode(), api.ErrorCode())
		said = append(said, api.ErrorMessage())
	} else {
		said = append(said, fmt.Sprintf("an answer with status %d that is not understood", response.HTTPStatusCode()))
	}
	if response.Response != nil {
		e.RetryAfter = transport.RetryAfter(response.Response.Header)
		said = append(said, advice(e.Kind, err, response.Response.Response))
	}
	e.Detail = strings.Join(strings.Fields(strings.Join(said, " ")), " ")
	return e
}

func kindOf(status int, code string) core.ErrorKind {
	if k, ok := kinds[code]; ok {
		return k
	}
	if strings.Contains(code, "Quota") { // every server writes it differently
		return core.ErrNoSpace
	}
	return transport.Kind(status)
}

// advice is what a person can do, or "".
func advice(kind core.ErrorKind, err error, r *http.Response) string {
	if r.StatusCode >= 300 && r.StatusCode < 400 {
		return moved(r.Header)
	}
	switch kind {
	case core.ErrDenied:
		if op := (*smithy.OperationError)(nil); errors.As(err, &op) && rights[op.Operation()] != "" {
			return "(this needs the right " + rights[op.Operation()] + ")"
		}
	case core.ErrClock:
		return fmt.Sprintf("(the server says that it is %s: set this machine's clock)", r.Header.Get("Date"))
	}
	return ""
}

// moved says where a redirect points.
func moved(h http.Header) string {
	if region := h.Get("X-Amz-Bucket-Region"); region != "" {
		return fmt.Sprintf("(the bucket is in another region: give region=%s)", region)
	}
	return transport.Moved(h, "region and endpoint")
}
