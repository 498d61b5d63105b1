package s3

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
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
		return option.Invalid(c.Place(), err)
	}
	return c.check()
}

// Place is "s3:bucket/prefix", and "s3:host:port/bucket/prefix" where there is an
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
		c.checkEncryption(),
		c.checkClass(),
		option.Lock(c.Lock, c.LockFor, "governance", "compliance"),
		option.OneOf("checksum", c.Checksum, sumAuto, sumCRC64, sumMD5, sumNone),
		option.PartSize(c.PartSize, minPart, maxPart),
		option.Concurrency(c.Concurrency),
	)
}

// bucketName is that of
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (c *Config) checkBucket() error {
	switch {
	case c.Bucket == "":
		return errors.New("no bucket is given: s3://bucket/prefix")
	case !bucketName.MatchString(c.Bucket):
		return fmt.Errorf("%q is no bucket's name, which has 3 to 63 of a-z 0-9 . -", c.Bucket)
	case strings.HasSuffix(c.Bucket, "--x-s3"):
		return errors.New("a directory bucket does not list in order, and cannot keep backups")
	}
	return nil
}

func (c *Config) checkEncryption() error {
	switch {
	case c.KMSKey != "" && c.SSE != string(types.ServerSideEncryptionAwsKms):
		return errors.New("kms_key goes with sse=aws:kms")
	case c.BucketKey && c.SSE != string(types.ServerSideEncryptionAwsKms):
		return errors.New("bucket_key goes with sse=aws:kms")
	}
	return option.OneOf("sse", c.SSE, "AES256", "aws:kms")
}

func (c *Config) checkClass() error {
	if c.Endpoint != "" {
		return nil // other servers have classes of their own
	}
	var classes []string
	for _, class := range types.StorageClass("").Values() {
		classes = append(classes, string(class))
	}
	return option.OneOf("storage_class", c.StorageClass, classes...)
}
