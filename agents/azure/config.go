package azure

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

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
		return option.Invalid(c.Place(), err)
	}
	return c.check()
}

// Place is "azure:account/container/prefix", with the host of the endpoint before it
// where there is one: two accounts may have containers of one name.
func (c *Config) Place() string {
	return option.Place(name, c.Endpoint, c.Account, c.Container, c.Prefix)
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

// The tiers of block blobs: https://learn.microsoft.com/azure/storage/blobs/access-tiers-overview
var tiers = []string{"Hot", "Cool", "Cold", "Archive"}

// check answers ErrInvalid for what no server would take.
func (c *Config) check() error {
	return option.Invalid(c.Place(),
		c.checkContainer(),
		option.Prefix(c.Prefix),
		c.checkEndpoint(),
		option.OneOf("tier", c.Tier, tiers...),
		option.Lock(c.Lock, c.LockFor, "unlocked", "locked"),
		option.PartSize(c.PartSize, minPart, maxPart),
		option.Concurrency(c.Concurrency),
	)
}

// What names look like:
// https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
var (
	containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
	accountName   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
)

func (c *Config) checkContainer() error {
	switch {
	case c.Container == "":
		return errors.New("no container is given: azblob://container/prefix")
	case !containerName.MatchString(c.Container) || len(c.Container) > 63:
		return fmt.Errorf("%q is no container's name, which has 3 to 63 of a-z 0-9 -", c.Container)
	case c.Account != "" && !accountName.MatchString(c.Account):
		return fmt.Errorf("%q is no account's name, which has 3 to 24 of a-z 0-9", c.Account)
	}
	for word := range strings.SplitSeq(c.Prefix, "/") {
		if strings.HasSuffix(word, ".") { // by the same page
			return fmt.Errorf("the prefix has a word %q between its slashes", word)
		}
	}
	return nil
}

func (c *Config) checkEndpoint() error {
	return option.Endpoint(c.Endpoint, "https://account.blob.core.windows.net")
}
