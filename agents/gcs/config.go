package gcs

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
	"github.com/offsite-backup/offsite/core/transport"
)

const (
	name   = "gcs"
	scheme = "gs"
)

// Kind is the agent as a program links it.
func Kind() core.Kind {
	return core.Kind{
		Name:    name,
		Schemes: []string{scheme},
		Summary: "a bucket of Google Cloud Storage: gs://bucket/prefix",
		Config:  func() core.Config { return new(Config) },
	}
}

// A Config says where backups are kept, and how. Credentials come from where Google's
// tools have them, unless a file is named.
type Config struct {
	Bucket string `config:"required"`
	Prefix string // of all keys, without a slash at either end

	Endpoint     string // URL of a server that is not https://storage.googleapis.com
	Emulator     bool   // whether it is an emulator, which may be on another machine and gets no credentials
	Credentials  string `config:"path"` // file of credentials; "" is the application default
	QuotaProject string // that requests are billed to; "" is what the credentials say

	StorageClass string // of archives, such as NEARLINE; "" is the bucket's
	KMSKey       string // projects/P/locations/L/keyRings/R/cryptoKeys/K; "" is what the bucket says

	Lock    string        // unlocked or locked, the mode of an object's retention; "" is none of ours
	LockFor time.Duration // how long what is stored is protected

	Upload      string // of archives: auto, parts or session; "" is auto
	PartSize    int64  // bytes, 1 MiB to 524 MiB, a multiple of 256 KiB; 0 is 32 MiB
	Concurrency int    // parts in flight at once, 1 to 64; 0 is 8
	CABundle    string `config:"path"` // file of certificates to trust besides the system's
}

const (
	uploadAuto    = "auto"
	uploadParts   = "parts"
	uploadSession = "session"
)

// SetURL takes gs://bucket/prefix?option=value.
func (c *Config) SetURL(u *url.URL) error {
	if u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return core.Errorf(core.ErrInvalid, "a bucket is written gs://bucket/prefix; credentials come from the application default, or a file that credentials=… names")
	}
	c.Bucket, c.Prefix = u.Host, strings.Trim(u.Path, "/")
	if err := option.SetQuery(c, u.RawQuery, "bucket", "prefix"); err != nil {
		return option.Invalid(c.Place(), err)
	}
	return c.check()
}

// Place is "gcs:bucket/prefix", and "gcs:host:port/bucket/prefix" where there is an
// endpoint: buckets of two servers may have one name.
func (c *Config) Place() string { return option.Place(name, c.Endpoint, c.Bucket, c.Prefix) }

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
	s, err := newStore(ctx, *c, env)
	if err != nil {
		return nil, err
	}
	return object.New(object.Retry(s, env), env), nil
}

// check answers ErrInvalid for what no server would take.
func (c *Config) check() error {
	return option.Invalid(c.Place(),
		c.checkBucket(),
		option.Prefix(c.Prefix),
		option.Endpoint(c.Endpoint, "https://host:port"),
		c.checkEndpoint(),
		c.checkKey(),
		option.OneOf("storage_class", c.StorageClass, classes...),
		option.Lock(c.Lock, c.LockFor, "unlocked", "locked"),
		option.OneOf("upload", c.Upload, uploadAuto, uploadParts, uploadSession),
		c.checkPartSize(),
		option.Concurrency(c.Concurrency),
	)
}

var (
	// https://cloud.google.com/storage/docs/buckets#naming
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)
	// https://cloud.google.com/kms/docs/resource-hierarchy#retrieve_resource_id
	keyName = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`)
)

func (c *Config) checkBucket() error {
	switch {
	case c.Bucket == "":
		return errors.New("no bucket is given: gs://bucket/prefix")
	case !bucketName.MatchString(c.Bucket) || len(c.Bucket) > 63 && !strings.Contains(c.Bucket, "."):
		return fmt.Errorf("%q is no bucket's name, which has 3 to 63 of a-z 0-9 . _ -", c.Bucket)
	}
	return nil
}

func (c *Config) checkEndpoint() error {
	u, err := url.Parse(c.Endpoint)
	if err != nil || strings.Trim(u.Path, "/") != "" {
		return errors.New("the endpoint is no URL such as https://host:port") // which may hold a secret
	}
	if u.Scheme == "http" && !c.Emulator && !transport.Loopback(u.Hostname()) {
		return errors.New("a token is not sent over http: give an endpoint of https, or emulator=true where none is asked for")
	}
	return nil
}

func (c *Config) checkKey() error {
	if c.KMSKey != "" && !keyName.MatchString(c.KMSKey) {
		return errors.New("a kms_key is written projects/P/locations/L/keyRings/R/cryptoKeys/K")
	}
	return nil
}

// The classes of https://cloud.google.com/storage/docs/storage-classes
var classes = []string{standard, "NEARLINE", "COLDLINE", "ARCHIVE"}

const standard = "STANDARD"

func (c *Config) checkPartSize() error {
	if c.PartSize != 0 && (c.PartSize < minPart || c.PartSize > maxPart || c.PartSize%quantum != 0) {
		return fmt.Errorf("a part_size of %d bytes is not from 1MiB to 524MiB in steps of 256KiB", c.PartSize)
	}
	return nil
}
