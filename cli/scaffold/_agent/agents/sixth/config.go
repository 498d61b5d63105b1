package sixth

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/option"
)

const name = "sixth"

// Kind is the agent as a program links it.
func Kind() core.Kind {
	return core.Kind{
		Name:    name,
		Schemes: []string{name},
		Summary: "a bucket of " + name + ": " + name + "://bucket/prefix?endpoint=…",
		Config:  func() core.Config { return new(Config) },
	}
}

// A Config says where backups are kept, and how. Its exported fields are the options
// of a configuration, and those that are one word of a URL: see core/option. A
// password or key is a core.Secret, which no URL can hold.
type Config struct {
	Bucket   string `config:"required"`
	Prefix   string // of all keys, without a slash at either end
	Endpoint string // URL of the server

	PartSize    int64 // bytes, from 1 MiB; 0 is 32 MiB
	Concurrency int   // parts in flight at once, 1 to 64; 0 is 8
}

// SetURL takes NAME://bucket/prefix?option=value.
func (c *Config) SetURL(u *url.URL) error {
	if u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return core.Errorf(core.ErrInvalid, "a bucket is written %s://bucket/prefix?endpoint=…", name)
	}
	c.Bucket, c.Prefix = u.Host, strings.Trim(u.Path, "/")
	if err := option.SetQuery(c, u.RawQuery, "bucket", "prefix"); err != nil {
		return core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
	}
	return c.check()
}

// Place is the kind, the server where one is named, bucket and prefix: two places
// never have one name.
func (c *Config) Place() string {
	words := []string{c.Bucket, c.Prefix}
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

// check answers ErrInvalid for what no server would take. No text repeats what may
// hold a secret.
func (c *Config) check() error {
	for _, err := range []error{c.checkPlace(), c.checkEndpoint(), c.checkTransfer()} {
		if err != nil {
			return core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
		}
	}
	return nil
}

func (c *Config) checkPlace() error {
	if c.Bucket == "" {
		return fmt.Errorf("no bucket is given: %s://bucket/prefix", name)
	}
	for word := range strings.SplitSeq(c.Prefix, "/") {
		if word == "." || word == ".." || word == "" && c.Prefix != "" {
			return fmt.Errorf("the prefix has a word %q between its slashes", word)
		}
	}
	return nil
}

func (c *Config) checkEndpoint() error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the endpoint is no URL such as https://host:port")
	}
	return nil
}

func (c *Config) checkTransfer() error {
	switch {
	case c.PartSize != 0 && c.PartSize < minPart:
		return fmt.Errorf("a part_size of %d bytes is less than 1MiB", c.PartSize)
	case c.Concurrency < 0 || c.Concurrency > 64:
		return fmt.Errorf("a concurrency of %d is not from 1 to 64", c.Concurrency)
	}
	return nil
}

func (c *Config) workers() int { return cmp.Or(c.Concurrency, 8) }
