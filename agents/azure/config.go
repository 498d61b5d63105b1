package azure

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/option"
)

const (
	name   = "azure"
	scheme = "azblob"
)

// Kind is the agent as a program links it.
func Kind() core.Kind {
	return core.Kind{
		Name:    name,
		Schemes: []string{scheme},
		Summary: "a container of Azure Blob Storage: azblob://container/prefix?account=…",
		Config:  func() core.Config { return new(Config) },
	}
}

// A Config says where backups are kept, and how. Account and credentials come from the
// environment where they are empty.
type Config struct {
	Container string `config:"required"`
	Prefix    string // of all keys, without a slash at either end

	Account  string // of storage
	Endpoint string // URL of the account's blob service; "" is https://ACCOUNT.blob.core.windows.net

	Key              core.Secret // of the account
	SAS              core.Secret // a shared access signature: the part of its URL after the question mark
	ConnectionString core.Secret // has account, endpoint and key or SAS
	ClientID         string      // of a managed identity that the machine has besides others

	Tier            string // of archives: Hot, Cool, Cold or Archive; "" is the account's own
	EncryptionScope string // "" is the container's

	Lock    string        // unlocked or locked, the mode of an immutability policy; "" is none of ours
	LockFor time.Duration // how long what is stored is protected

	PartSize    int64  // bytes, 1 MiB to 4000 MiB; 0 is 16 MiB
	Concurrency int    // parts in flight at once, 1 to 64; 0 is 8
	CABundle    string `config:"path"` // file of certificates to trust besides the system's
}

// SetURL takes azblob://container/prefix?option=value.
func (c *Config) SetURL(u *url.URL) error {
	if u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return core.Errorf(core.ErrInvalid, "a container is written azblob://container/prefix?account=…; credentials come from the environment")
	}
	c.Container, c.Prefix = u.Host, strings.Trim(u.Path, "/")
	if err := option.SetQuery(c, u.RawQuery, "container", "prefix"); err != nil {
		return core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
	}
	return c.check()
}

// Place is "azure:account/container/prefix", with the host of the endpoint before it
// where there is one: two accounts may have containers of one name.
func (c *Config) Place() string {
	words := []string{c.Container, c.Prefix}
	if c.Account != "" {
		words = append([]string{c.Account}, words...)
	}
	if u, err := url.Parse(c.Endpoint); err == nil && u.Host != "" {
		words = append([]string{u.Host}, words...)
	}
	return strings.TrimRight(name+":"+strings.Join(words, "/"), "/")
}

// Open returns the agent. It asks the server nothing.
func (c *Config) Open(ctx context.Context, env core.Env) (core.Agent, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if env.Name == "" {
		env.Name = c.Place()
	}
	s, err := newStore(*c, env)
	if err != nil {
		return nil, err
	}
	return object.New(object.Retry(s, env), env), nil
}

// check answers ErrInvalid for what no server would take.
func (c *Config) check() error {
	for _, err := range []error{c.checkPlace(), c.checkEndpoint(), c.checkProtection(), c.checkTransfer()} {
		if err != nil {
			return core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
		}
	}
	return nil
}

// What names look like:
// https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
var (
	containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
	accountName   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
)

func (c *Config) checkPlace() error {
	switch {
	case c.Container == "":
		return fmt.Errorf("no container is given: azblob://container/prefix")
	case !containerName.MatchString(c.Container) || len(c.Container) > 63:
		return fmt.Errorf("%q is no container's name, which has 3 to 63 of a-z 0-9 -", c.Container)
	case c.Account != "" && !accountName.MatchString(c.Account):
		return fmt.Errorf("%q is no account's name, which has 3 to 24 of a-z 0-9", c.Account)
	case len(c.Prefix) > 512:
		return fmt.Errorf("the prefix has %d bytes; 512 are the most", len(c.Prefix))
	}
	for word := range strings.SplitSeq(c.Prefix, "/") {
		if strings.HasSuffix(word, ".") || word == "" && c.Prefix != "" || strings.ContainsFunc(word, unprintable) {
			return fmt.Errorf("the prefix has a word %q between its slashes", word)
		}
	}
	return nil
}

func unprintable(r rune) bool { return !strconv.IsPrint(r) || r == '\\' || r == '\uFFFD' }

func (c *Config) checkEndpoint() error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the endpoint is no URL such as https://account.blob.core.windows.net") // which may hold a secret
	}
	return nil
}

func (c *Config) checkProtection() error {
	var tiers []string
	for _, t := range blob.PossibleAccessTierValues() {
		tiers = append(tiers, string(t))
	}
	switch {
	case (c.Lock == "") != (c.LockFor == 0):
		return fmt.Errorf("lock and lock_for go together, such as lock=unlocked&lock_for=30d")
	case !oneOf(c.Tier, tiers...):
		return fmt.Errorf("no tier %q; known are %s", c.Tier, strings.Join(tiers, ", "))
	case !oneOf(c.Lock, "unlocked", "locked"):
		return fmt.Errorf("no lock %q; known are unlocked, locked", c.Lock)
	}
	return nil
}

func (c *Config) checkTransfer() error {
	switch {
	case c.PartSize != 0 && (c.PartSize < minPart || c.PartSize > maxPart):
		return fmt.Errorf("a part_size of %d bytes is not from 1MiB to 4000MiB", c.PartSize)
	case c.Concurrency < 0 || c.Concurrency > 64:
		return fmt.Errorf("a concurrency of %d is not from 1 to 64", c.Concurrency)
	}
	return nil
}

func oneOf(value string, all ...string) bool { return value == "" || slices.Contains(all, value) }
