package s3

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/option"
)

const name = "s3"

// Kind is the agent as a program links it.
func Kind() core.Kind {
	return core.Kind{
		Name:    name,
		Schemes: []string{name},
		Summary: "a bucket of Amazon S3 or of a server like it: s3://bucket/prefix?region=…&endpoint=…",
		Config:  func() core.Config { return new(Config) },
	}
}

// A Config says where backups are kept, and how. Region, endpoint and profile come
// from the AWS environment variables and files where they are empty, and credentials
// always do.
type Config struct {
	Bucket    string `config:"required"`
	Prefix    string // of all keys, without a slash at either end
	Region    string // us-east-1 where nothing says another one
	Endpoint  string // URL of a server that is not Amazon's
	PathStyle *bool  // whether the bucket stands in the path of a URL, not in its host; nil: where there is an endpoint
	Profile   string // of the AWS configuration

	StorageClass string // of archives, such as STANDARD_IA; "" is the server's default
	SSE          string // AES256 or aws:kms; "" is what the bucket says
	KMSKey       string // with aws:kms; "" is the account's own
	BucketKey    bool   // with aws:kms: asks KMS once for many objects

	Lock    string        // governance or compliance; "" is none of ours
	LockFor time.Duration // how long what is stored is protected

	Checksum    string // that the server verifies: auto, crc64nvme, md5 or none; "" is auto
	PartSize    int64  // bytes, 5 MiB to 5 GiB; 0 is 32 MiB
	Concurrency int    // parts in flight at once, 1 to 64; 0 is 8
	CABundle    string `config:"path"` // file of certificates to trust besides the system's
}

const (
	sumAuto  = "auto"
	sumCRC64 = "crc64nvme"
	sumMD5   = "md5"
	sumNone  = "none"
)

// SetURL takes s3://bucket/prefix?option=value.
func (c *Config) SetURL(u *url.URL) error {
	if u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return core.Errorf(core.ErrInvalid, "a bucket is written s3://bucket/prefix?region=…; credentials come from the AWS environment")
	}
	c.Bucket, c.Prefix = u.Host, strings.Trim(u.Path, "/")
	if err := option.SetQuery(c, u.RawQuery, "bucket", "prefix"); err != nil {
		return core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
	}
	return c.check()
}

// Place is "s3:bucket/prefix", and "s3:host:port/bucket/prefix" where there is an
// endpoint: buckets of two servers may have one name.
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
	s, err := newStore(ctx, *c, env)
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

// bucketName is that of
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (c *Config) checkPlace() error {
	switch {
	case c.Bucket == "":
		return fmt.Errorf("no bucket is given: s3://bucket/prefix")
	case !bucketName.MatchString(c.Bucket):
		return fmt.Errorf("%q is no bucket's name, which has 3 to 63 of a-z 0-9 . -", c.Bucket)
	case strings.HasSuffix(c.Bucket, "--x-s3"):
		return fmt.Errorf("a directory bucket does not list in order, and cannot keep backups")
	case len(c.Prefix) > 512:
		return fmt.Errorf("the prefix has %d bytes; 512 are the most", len(c.Prefix))
	}
	for word := range strings.SplitSeq(c.Prefix, "/") {
		if word == "." || word == ".." || word == "" && c.Prefix != "" || strings.ContainsFunc(word, unprintable) {
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
		return fmt.Errorf("the endpoint is no URL such as https://host:port") // which may hold a secret
	}
	return nil
}

func (c *Config) checkProtection() error {
	var classes []string
	for _, class := range types.StorageClass("").Values() {
		classes = append(classes, string(class))
	}
	switch {
	case c.KMSKey != "" && c.SSE != string(types.ServerSideEncryptionAwsKms):
		return fmt.Errorf("kms_key goes with sse=aws:kms")
	case c.BucketKey && c.SSE != string(types.ServerSideEncryptionAwsKms):
		return fmt.Errorf("bucket_key goes with sse=aws:kms")
	case (c.Lock == "") != (c.LockFor == 0) || c.LockFor < 0:
		return fmt.Errorf("lock and lock_for go together, such as lock=governance&lock_for=30d")
	case c.Endpoint == "" && !oneOf(c.StorageClass, classes...): // other servers have classes of their own
		return fmt.Errorf("no storage_class %q; known are %s", c.StorageClass, strings.Join(classes, ", "))
	case !oneOf(c.SSE, "AES256", "aws:kms"):
		return fmt.Errorf("no sse %q; known are AES256, aws:kms", c.SSE)
	case !oneOf(c.Lock, "governance", "compliance"):
		return fmt.Errorf("no lock %q; known are governance, compliance", c.Lock)
	}
	return nil
}

func (c *Config) checkTransfer() error {
	switch {
	case !oneOf(c.Checksum, sumAuto, sumCRC64, sumMD5, sumNone):
		return fmt.Errorf("no checksum %q; known are auto, crc64nvme, md5, none", c.Checksum)
	case c.PartSize != 0 && (c.PartSize < minPart || c.PartSize > maxPart):
		return fmt.Errorf("a part_size of %d bytes is not from 5MiB to 5GiB", c.PartSize)
	case c.Concurrency < 0 || c.Concurrency > 64:
		return fmt.Errorf("a concurrency of %d is not from 1 to 64", c.Concurrency)
	}
	return nil
}

func oneOf(value string, all ...string) bool { return value == "" || slices.Contains(all, value) }
