package s3

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// spare connections are for lists, and for readers that stand open while parts are
// sent.
const spare = 32

// newClient makes a client of the SDK that retries nothing, computes no checksums
// of its own and follows no redirect. The caller closes the idle connections of the
// transport. Requests are signed by the machine's clock, not that of env: the
// server compares it with its own.
func newClient(ctx context.Context, c Config, env core.Env) (*s3.Client, *http.Transport, error) {
	own, err := transport.New(transport.Options{CABundle: c.CABundle, Connections: c.workers() + spare, Dial: env.Dial})
	if err != nil {
		return nil, nil, err
	}
	env = env.WithDefaults()
	loaded, err := load(ctx, c, env, own)
	if err != nil {
		return nil, nil, core.Errorf(core.ErrInvalid, "the AWS configuration: %w", err)
	}
	if env.Transport == nil {
		env.Transport = own
	}
	return s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.HTTPClient = transport.Client(env.Transport)
		if c.Endpoint != "" {
			o.BaseEndpoint = &c.Endpoint
		}
		o.UsePathStyle = o.BaseEndpoint != nil
		if c.PathStyle != nil {
			o.UsePathStyle = *c.PathStyle
		}
		o.Credentials = &credentials{provider: loaded.Credentials}
		o.DisableClockSkewCorrection = true // a wrong clock is an error
		o.Retryer = aws.NopRetryer{}
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
	}), own, nil
}

// load reads what the AWS environment variables and files say, and gives own the
// certificates that they name.
func load(ctx context.Context, c Config, env core.Env, own *http.Transport) (aws.Config, error) {
	chain := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig.RootCAs = own.TLSClientConfig.RootCAs
		t.DisableKeepAlives = true // nobody could close them
	})
	loaded, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithHTTPClient(chain),
		awsconfig.WithSharedConfigProfile(c.Profile),
		awsconfig.WithRegion(c.Region),
		awsconfig.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
			env.Log.Debug("the AWS SDK says", "agent", env.Name, "text", fmt.Sprintf(format, args...))
		})),
	)
	if err != nil {
		return loaded, err
	}
	if loaded.Region == "" {
		loaded.Region = "us-east-1" // other servers than Amazon's ask for none
	}
	if chain, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
		own.TLSClientConfig.RootCAs = chain.GetTransport().TLSClientConfig.RootCAs
	}
	return loaded, nil
}

// credentials are those of the AWS chain. That there are none does not pass; that
// they cannot be renewed may.
type credentials struct {
	provider aws.CredentialsProvider
	had      atomic.Bool
}

func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := c.provider.Retrieve(ctx)
	switch {
	case err == nil:
		c.had.Store(true)
		return got, nil
	case c.had.Load():
		return got, core.Errorf(core.ErrUnavailable, "the credentials cannot be renewed: %w", err)
	}
	return got, core.Errorf(core.ErrUnauthenticated, "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile; there are none in the AWS environment variables and files, and none from this machine: %w", err)
}

// unsigned leaves the payload out of the signature: its checksum is in a header
// that is signed, and hashing it once more costs more than sending it.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware(stack)
	})
}
