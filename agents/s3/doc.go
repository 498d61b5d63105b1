// Package s3 is the agent that keeps backups in a bucket of Amazon S3, or of a
// server that speaks its protocol.
//
//	s3://bucket/prefix?region=eu-central-1
//	s3://bucket/prefix?endpoint=https://minio.example:9000&ca_bundle=/etc/minio/ca.pem
//
// The options of the URL are the fields of Config: region, endpoint, path_style,
// profile, storage_class, sse, kms_key, bucket_key, lock, lock_for, checksum,
// part_size, concurrency, ca_bundle.
//
// The bucket has to be there: none is ever made or listed. Credentials come from
// where the AWS command line has them: environment, profile, web identity, the
// container or the machine. They go to the host that is named and to no other, so
// redirects are not followed. Requests are signed and hold no secret; over an
// endpoint of http:// others can read what is sent, and not change a request.
//
// # How objects are stored
//
// An archive larger than a part goes up in parts, each with a CRC-64/NVME that the
// server verifies, and becomes one object whose checksum the server computed over
// all its bytes. Objects are created with If-None-Match, so nothing is overwritten.
// An upload that was interrupted goes on with the parts that the server lists.
//
// Where a server does not know CRC-64/NVME, MD5 is used instead; it is found out
// with the first request. Such a server cannot say which bytes it holds, so an
// upload that was interrupted begins anew.
//
// A storage class is that of archives: metadata, which every list reads, stays in
// the default one. What lies in an archive class (GLACIER, DEEP_ARCHIVE) has to be
// restored in the bucket before it can be read.
//
// A lock is that of archives, metadata and signatures, counted from when each was
// begun. Holds and marks stay free. In a bucket with versions, what is deleted is
// not listed any more and stays there as an older version, as the bucket's
// lifecycle says.
//
// # Rights
//
// On the objects: s3:PutObject, s3:GetObject, s3:AbortMultipartUpload,
// s3:ListMultipartUploadParts; on the bucket: s3:ListBucket,
// s3:ListBucketMultipartUploads. To delete: s3:DeleteObject; without it, uploads,
// lists and restores work. With a lock: s3:PutObjectRetention and
// s3:GetObjectRetention. With SSE-KMS: kms:GenerateDataKey and kms:Decrypt.
//
// # Other servers
//
// A server has to honour If-None-Match when objects are created, to list in the
// order of keys, and to show at once what was stored. Directory buckets (S3
// Express) do not list in order.
package s3
