package azure

import (
	"cmp"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// spare connections are for lists, and for readers that stand open while parts are
// sent.
const spare = 32

// newClient makes a client of the SDK that retries nothing and follows no redirect.
// The caller closes the idle connections of the transport.
func newClient(c Config, env core.Env) (*container.Client, *http.Transport, error) {
	own, err := transport.New(transport.Options{CABundle: c.CABundle, Connections: c.workers() + spare, Dial: env.Dial})
	if err != nil {
		return nil, nil, err
	}
	if env.Transport == nil {
		env.Transport = own
	}
	options := azcore.ClientOptions{
		Transport: transport.Client(env.Transport),
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
	client, err := c.fromEnvironment(os.Getenv).client(options, transport.Client(own))
	if err != nil && core.KindOf(err) == "" { // of the SDK, which may repeat what it was given
		err = core.Errorf(core.ErrInvalid, "%s: the account, its endpoint or its credentials are not understood", c.Place())
	}
	return client, own, err
}

// fromEnvironment adds what the variables say that the tools of Azure know, where the
// configuration names no credentials.
func (c Config) fromEnvironment(getenv func(string) string) Config {
	if c.Key.IsZero() && c.SAS.IsZero() && c.ConnectionString.IsZero() {
		c.ConnectionString = core.NewSecret(getenv("AZURE_STORAGE_CONNECTION_STRING"))
		c.Key = core.NewSecret(getenv("AZURE_STORAGE_KEY"))
		c.SAS = core.NewSecret(getenv("AZURE_STORAGE_SAS_TOKEN"))
	}
	if c.Endpoint == "" {
		c.Account = cmp.Or(c.Account, getenv("AZURE_STORAGE_ACCOUNT"))
	}
	return c
}

// client takes the credentials that say most: a connection string, a key, a SAS, and
// else an identity.
// An identity's service is asked by another client: it is not the place.
func (c Config) client(options azcore.ClientOptions, others policy.Transporter) (*container.Client, error) {
	with := &container.ClientOptions{ClientOptions: options}
	if text := c.ConnectionString.Reveal(); text != "" && c.Endpoint == "" {
		return container.NewClientFromConnectionString(text, c.Container, with)
	}
	at, err := c.url()
	if err != nil {
		return nil, err
	}
	if key := c.Key.Reveal(); key != "" {
		shared, err := container.NewSharedKeyCredential(c.account(), key)
		if err != nil {
			return nil, core.Errorf(core.ErrInvalid, "the key of account %s is no base64", c.account())
		}
		return container.NewClientWithSharedKeyCredential(at.String(), shared, with)
	}
	if sas := strings.TrimPrefix(c.SAS.Reveal(), "?"); sas != "" {
		at.RawQuery = sas
		return container.NewClientWithNoCredential(at.String(), with)
	}
	if at.Scheme != "https" {
		return nil, core.Errorf(core.ErrInvalid, "an identity's token is not sent over %s: give a key or a SAS, or an endpoint of https", at.Scheme)
	}
	identity, err := c.identity(others)
	if err != nil {
		return nil, core.Errorf(core.ErrUnauthenticated, "no credentials: set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or sign in: %w", err)
	}
	return container.NewClient(at.String(), identity, with)
}

func (c Config) identity(service policy.Transporter) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{Transport: service, Telemetry: policy.TelemetryOptions{Disabled: true}}
	if c.ClientID != "" {
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ClientOptions: options, ID: azidentity.ClientID(c.ClientID),
		})
	}
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: options,
		// A service that the environment names is not one for Microsoft's to vouch for.
		DisableInstanceDiscovery: os.Getenv("AZURE_AUTHORITY_HOST") != "",
	})
}

// url is that of the container.
func (c Config) url() (*url.URL, error) {
	if c.Endpoint == "" && c.Account == "" {
		return nil, core.Errorf(core.ErrInvalid, "%s: no account is given: azblob://container/prefix?account=…, or AZURE_STORAGE_ACCOUNT", c.Place())
	}
	u, err := url.Parse(cmp.Or(c.Endpoint, "https://"+c.Account+".blob.core.windows.net"))
	if err != nil {
		return nil, err
	}
	return u.JoinPath(c.Container), nil
}

// account is the one that is given, else the one that stands in the endpoint: before
// its first dot, or in the path of an emulator's.
func (c Config) account() string {
	if c.Account != "" {
		return c.Account
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return ""
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		return path
	}
	account, _, _ := strings.Cut(u.Hostname(), ".")
	return account
}
