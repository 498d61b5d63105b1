package s3

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

func TestURL(t *testing.T) {
	yes := true
	for text, want := range map[string]Config{
		"s3://bucket":                     {Bucket: "bucket"},
		"s3://bucket/":                    {Bucket: "bucket"},
		"s3://my.bucket-1/a/b c/":         {Bucket: "my.bucket-1", Prefix: "a/b c"},
		"s3://bucket/p?region=eu-north-1": {Bucket: "bucket", Prefix: "p", Region: "eu-north-1"},
		"s3://bucket?endpoint=http://[::1]:9000&path_style=true&ca_bundle=/etc/ca.pem": {
			Bucket: "bucket", Endpoint: "http://[::1]:9000", PathStyle: &yes, CABundle: "/etc/ca.pem",
		},
		"s3://bucket?profile=work&storage_class=GLACIER_IR&sse=aws:kms&kms_key=alias/x&bucket_key=true": {
			Bucket: "bucket", Profile: "work", StorageClass: "GLACIER_IR", SSE: "aws:kms", KMSKey: "alias/x", BucketKey: true,
		},
		"s3://bucket?lock=compliance&lock_for=30d&checksum=md5&part_size=64MiB&concurrency=3": {
			Bucket: "bucket", Lock: "compliance", LockFor: 30 * 24 * time.Hour, Checksum: "md5", PartSize: 64 << 20, Concurrency: 3,
		},
		"s3://bucket?lock=governance&lock_for=36h30m&part_size=5368709120": {
			Bucket: "bucket", Lock: "governance", LockFor: 36*time.Hour + 30*time.Minute, PartSize: 5 << 30,
		},
		"s3://bucket?endpoint=https://ceph&storage_class=COLD_HDD": {Bucket: "bucket", Endpoint: "https://ceph", StorageClass: "COLD_HDD"},
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var got Config
		if err := got.SetURL(u); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// What is refused says which option it is about and what is known, and repeats
// nothing that may be a secret.
func TestWrongURL(t *testing.T) {
	for text, want := range map[string]string{
		"s3://":                                          "no bucket",
		"s3:bucket/prefix":                               "s3://bucket/prefix",
		"s3://canary@bucket":                             "credentials come from",
		"s3://bucket#canary":                             "s3://bucket/prefix",
		"s3://Bucket":                                    "no bucket's name",
		"s3://bucket:9000":                               "no bucket's name",
		"s3://b":                                         "no bucket's name",
		"s3://bucket--x-s3":                              "directory bucket",
		"s3://bucket/a//b":                               `a word ""`,
		"s3://bucket/a/../b":                             `a word ".."`,
		"s3://bucket/.":                                  `a word "."`,
		"s3://bucket/a%00b":                              "a word",
		"s3://bucket/a%5Cb":                              "a word",
		"s3://bucket/a%FFb":                              "a word",
		"s3://bucket?secret=canary":                      `no option "secret"; known are bucket_key, ca_bundle, checksum, concurrency, endpoint, kms_key, lock, lock_for, part_size, path_style, profile, region, sse, storage_class`,
		"s3://bucket?canary%zz":                          "?option=value",
		"s3://bucket?region=":                            "option region is empty",
		"s3://bucket?region=a&region=b":                  "region is given twice",
		"s3://bucket?endpoint=minio:9000":                "no URL such as https://host:port",
		"s3://bucket?endpoint=ftp://minio":               "no URL such as https://host:port",
		"s3://bucket?endpoint=https://u:canary@host":     "no URL such as https://host:port",
		"s3://bucket?endpoint=https://host%3Fcanary%3Dx": "no URL such as https://host:port",
		"s3://bucket?path_style=maybe":                   `"maybe" is not true or false`,
		"s3://bucket?storage_class=COLD":                 "known are STANDARD, ",
		"s3://bucket?sse=kms":                            "known are AES256, aws:kms",
		"s3://bucket?kms_key=x":                          "kms_key goes with sse=aws:kms",
		"s3://bucket?sse=AES256&bucket_key=true":         "bucket_key goes with sse=aws:kms",
		"s3://bucket?lock=GOVERNANCE&lock_for=1d":        "known are governance, compliance",
		"s3://bucket?lock=governance":                    "lock and lock_for go together",
		"s3://bucket?lock_for=1d":                        "lock and lock_for go together",
		"s3://bucket?lock=governance&lock_for=-1h":       `lock_for: "-1h" is not a time such as`,
		"s3://bucket?lock=governance&lock_for=30":        `lock_for: "30" is not a time such as`,
		"s3://bucket?checksum=sha1":                      "known are auto, crc64nvme, md5, none",
		"s3://bucket?part_size=4MiB":                     "from 5MiB to 5GiB",
		"s3://bucket?part_size=6GiB":                     "from 5MiB to 5GiB",
		"s3://bucket?part_size=99999999999GiB":           "is not a size such as 32MiB",
		"s3://bucket?part_size=32MB":                     `"32MB" is not a size such as 32MiB`,
		"s3://bucket?concurrency=65":                     "from 1 to 64",
		"s3://bucket?concurrency=-1":                     `concurrency: "-1" is not a number from 1`,
		"s3://bucket?concurrency=many":                   `"many" is not a number`,
		"s3://bucket/" + strings.Repeat("a", 600):        "512 are the most",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		err = new(Config).SetURL(u)
		prove.Kind(t, text, err, core.ErrInvalid)
		if err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestPlace(t *testing.T) {
	for want, c := range map[string]*Config{"s3:bucket": {Bucket: "bucket"}, "s3:bucket/a/b": {Bucket: "bucket", Prefix: "a/b"}, "s3:minio:9000/bucket": {Bucket: "bucket", Endpoint: "https://minio:9000/"}} {
		if got := c.Place(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
