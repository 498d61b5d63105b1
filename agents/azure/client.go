package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/option"
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
	said, err := c.fromEnvironment(os.Getenv)
	if err != nil {
		return nil, nil, option.Invalid(c.Place(), err)
	}
	client, err := said.client(options, transport.Client(own))
	if err != nil && core.KindOf(err) == "" { // of the SDK, which may repeat what it was given
		err = core.Errorf(core.ErrInvalid, "%s: the account, its endpoint or its credentials are not understood", c.Place())
	}
	return client, own, err
}

// fromEnvironment adds what the variables say that the tools of Azure know, where the
// configuration names no credentials. A connection string that is of another account than
// the one which is named, or of nobody knows which, is somebody else's.
func (c Config) fromEnvironment(getenv func(string) string) (Config, error) {
	if !c.Key.IsZero() || !c.SAS.IsZero() || !c.ConnectionString.IsZero() {
		return c.connected()
	}
	if text := getenv("AZURE_STORAGE_CONNECTION_STRING"); text != "" && c.Endpoint == "" {
		own, err := Config{ConnectionString: core.NewSecret(text)}.connected()
		if err != nil {
			return c, fmt.Errorf("AZURE_STORAGE_CONNECTION_STRING: %w", err)
		}
		if c.Account == "" || c.Account == own.account() {
			c.Account, c.Endpoint, c.Key, c.SAS = own.Account, own.Endpoint, own.Key, own.SAS
			return c, nil
		}
	}
	c.Key = core.NewSecret(getenv("AZURE_STORAGE_KEY"))
	c.SAS = core.NewSecret(getenv("AZURE_STORAGE_SAS_TOKEN"))
	if c.Endpoint == "" {
		c.Account = cmp.Or(c.Account, getenv("AZURE_STORAGE_ACCOUNT"))
	}
	return c, nil
}

// connected has the account, endpoint and credentials that the connection string says,
// which are words between semicolons:
// https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
// What stands beside it must not say otherwise.
func (c Config) connected() (Config, error) {
	if c.ConnectionString.IsZero() {
		return c, nil
	}
	said := map[string]string{}
	for word := range strings.SplitSeq(c.ConnectionString.Reveal(), ";") {
		name, text, _ := strings.Cut(strings.TrimSpace(word), "=")
		said[name] = text
	}
	own := Config{
		Account: said["AccountName"], Endpoint: said["BlobEndpoint"],
		Key: core.NewSecret(said["AccountKey"]), SAS: core.NewSecret(said["SharedAccessSignature"]),
	}
	if own.Endpoint == "" && accountName.MatchString(own.Account) {
		own.Endpoint = cmp.Or(said["DefaultEndpointsProtocol"], "https") + "://" + own.Account + ".blob." + cmp.Or(said["EndpointSuffix"], "core.windows.net")
	}
	switch {
	case own.Endpoint == "" || own.checkEndpoint() != nil || own.Key.IsZero() && own.SAS.IsZero():
		return c, errors.New("a connection string that is not understood: it has AccountName and AccountKey, or BlobEndpoint and SharedAccessSignature")
	case c.Endpoint != "" || !c.Key.IsZero() || !c.SAS.IsZero():
		return c, errors.New("connection_string says endpoint and credentials: leave out endpoint, key and sas, or leave it out itself")
	case c.Account != "" && c.Account != own.account():
		return c, fmt.Errorf("connection_string is of the account %q, and account says %q", own.account(), c.Account)
	}
	c.Account, c.Endpoint, c.Key, c.SAS = own.Account, own.Endpoint, own.Key, own.SAS
	return c, nil
}

// client takes the credentials that say most: a key, a SAS, and else an identity.
// An identity's service is asked by another client: it is not the place.
func (c Config) client(options azcore.ClientOptions, others policy.Transporter) (*container.Client, error) {
	with := &container.ClientOptions{ClientOptions: options}
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
		if at.Scheme != "https" && !transport.Loopback(at.Hostname()) {
			return nil, core.Errorf(core.ErrInvalid, "a SAS is not sent over %s to another machine: give a key, or an endpoint of https", at.Scheme)
		}
		at.RawQuery = sas
		return container.NewClientWithNoCredential(at.String(), with)
	}
	if at.Scheme != "https" {
		return nil, core.Errorf(core.ErrInvalid, "an identity's token is not sent over %s: give a key or a SAS, or an endpoint of https", at.Scheme)
	}
	who, err := c.identity(others)
	if err != nil {
		return nil, core.Errorf(core.ErrUnauthenticated, "no credentials: set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or sign in: %w", err)
	}
	return container.NewClient(at.String(), identity{who}, with)
}

// An identity says of its errors that they are not the place's.
type identity struct{ azcore.TokenCredential }

func (i identity) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := i.TokenCredential.GetToken(ctx, o)
	if err != nil {
		err = unidentified(err)
	}
	return token, err
}

func (c Config) identity(service policy.Transporter) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{
		Transport: service,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // which is done above, and told
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
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
