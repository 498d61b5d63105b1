package azure

import (
	"context"
	"iter"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// List passes over what is not after after: not every server begins a list inside.
func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[object.Object, error] {
	return func(yield func(object.Object, error) bool) {
		last := ""
		for item, err := range s.items(ctx, prefix, container.ListBlobsInclude{Metadata: true}) {
			key, o := "", object.Object{}
			if err == nil {
				key = strings.TrimPrefix(value(item.Name), s.prefix)
				err = onward(last, key)
			}
			if err != nil {
				yield(object.Object{}, err)
				return
			}
			if last = key; key <= after && after != "" {
				continue
			}
			if p := item.Properties; p != nil {
				o = object.Object{Key: key, Size: value(p.ContentLength), Version: version(p.ETag), Modified: value(p.LastModified)}
				marked(&o, item.Metadata)
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// onward compares a key with the one that the server listed before it.
func onward(last, key string) error {
	if key <= last {
		return core.Errorf(core.ErrUnavailable, "the server lists %q after %q", key, last)
	}
	return nil
}

// items reads a list page by page. The folders of an account with a hierarchical
// namespace, which are blobs of no bytes, are passed over.
func (s *store) items(ctx context.Context, prefix string, include container.ListBlobsInclude) iter.Seq2[*container.BlobItem, error] {
	return func(yield func(*container.BlobItem, error) bool) {
		full, marker := s.prefix+prefix, ""
		pages := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &full, MaxResults: s.page, Include: include})
		for pages.More() {
			page, err := pages.NextPage(ctx)
			if err = translate(err); err == nil {
				err = whole(page, marker)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range page.Segment.BlobItems {
				if !strings.HasPrefix(value(item.Name), full) {
					yield(nil, core.Errorf(core.ErrUnavailable, "asked for %q, the server lists %q", full, value(item.Name)))
					return
				}
				if folder(item) {
					continue
				}
				if !yield(item, nil) {
					return
				}
			}
			marker = value(page.NextMarker)
		}
	}
}

// folder says whether a blob is one:
// https://learn.microsoft.com/azure/storage/blobs/data-lake-storage-known-issues
func folder(item *container.BlobItem) bool {
	for name, text := range item.Metadata {
		if strings.EqualFold(name, "hdi_isfolder") {
			return value(text) == "true"
		}
	}
	return false
}

// whole says whether a page is one: an answer that ended before its first byte looks
// like an empty one, and one that goes on where it began never ends.
func whole(page container.ListBlobsFlatResponse, marker string) error {
	if page.ContainerName == nil || page.Segment == nil || page.NextMarker == nil {
		return core.Errorf(core.ErrUnavailable, "the server sent half a page of a list")
	}
	if next := *page.NextMarker; next != "" && next == marker {
		return core.Errorf(core.ErrUnavailable, "the server says that a list goes on, and not where")
	}
	return nil
}
