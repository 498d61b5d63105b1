package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/offsite-backup/offsite/conformance"
)

// azuriteVersion is the one that make installs.
const azuriteVersion = "3.37.0"

// The account that every Azurite has, and its key, which is no secret:
// https://learn.microsoft.com/azure/storage/common/storage-use-azurite
const (
	AzuriteAccount = "devstoreaccount1"
	AzuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// An Azurite is a server of Azure Blob Storage.
type Azurite struct {
	Address string // 127.0.0.1:port

	*process
}

// URL is that of the account's blob service.
func (a *Azurite) URL() string { return "http://" + a.Address + "/" + AzuriteAccount }

// StartAzurite starts a server that keeps its data in dir, which is there, and returns
// when it answers. env are variables of its own. The caller stops it; where the system
// can, it ends with this process too. ErrMissing says that it has to be installed
// first.
func StartAzurite(ctx context.Context, dir string, env ...string) (*Azurite, error) {
	program, err := tool("azurite", azuriteVersion)
	if err != nil {
		return nil, err
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("node: %w", ErrMissing)
	}
	a := new(Azurite)
	if a.Address, err = freeAddress(); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(a.Address)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(node, program+"/node_modules/azurite/dist/src/blob/main.js",
		"--blobHost", host, "--blobPort", port, "--location", dir, "--silent", "--skipApiVersionCheck", "--disableTelemetry")
	cmd.Env, cmd.Dir = append([]string{"HOME=" + dir}, env...), dir
	if a.process, err = start(ctx, cmd, a.ready); err != nil {
		return nil, fmt.Errorf("azurite: %w", err)
	}
	return a, nil
}

// StartAzuriteIn is StartAzurite for one test alone, with a folder that it chose.
func StartAzuriteIn(tb testing.TB, dir string) *Azurite {
	tb.Helper()
	a, err := StartAzurite(tb.Context(), dir)
	must(tb, err)
	tb.Cleanup(a.Stop)
	return a
}

func (a *Azurite) ready(ctx context.Context) error {
	c, err := a.container("none")
	if err == nil {
		_, err = c.GetProperties(ctx, nil)
	}
	if bloberror.HasCode(err, bloberror.ContainerNotFound) {
		return nil
	}
	return err
}

func (a *Azurite) container(name string) (*container.Client, error) {
	key, err := container.NewSharedKeyCredential(AzuriteAccount, AzuriteKey)
	if err != nil {
		return nil, err
	}
	return container.NewClientWithSharedKeyCredential(a.URL()+"/"+name, key, nil)
}

// A Container is one of a server, seen with another client than an agent's.
type Container struct {
	client *container.Client
	Name   string
}

var _ conformance.Raw = Container{}

// MakeContainer makes a container.
func (a *Azurite) MakeContainer(ctx context.Context, name string) (Container, error) {
	c, err := a.container(name)
	if err == nil {
		_, err = c.Create(ctx, nil)
	}
	return Container{c, name}, err
}

// SAS is a shared access signature of the container with rights by their letters, of
// rwcld, for the day before a time. It is the part of a URL after the question mark.
func (c Container) SAS(rights string, until time.Time) (string, error) {
	may := func(letter string) bool { return strings.Contains(rights, letter) }
	all := sas.ContainerPermissions{Read: may("r"), Write: may("w"), Create: may("c"), List: may("l"), Delete: may("d")}
	signed, err := c.client.GetSASURL(all, until, &container.GetSASURLOptions{StartTime: to.Ptr(until.Add(-24 * time.Hour))})
	_, query, _ := strings.Cut(signed, "?")
	return query, err
}

// Put makes or replaces a blob.
func (c Container) Put(ctx context.Context, ns conformance.Namespace, key string, data []byte) error {
	_, err := c.client.NewBlockBlobClient(below(ns)+key).Upload(ctx, streaming.NopCloser(bytes.NewReader(data)), nil)
	return err
}

// Get returns the bytes of a blob.
func (c Container) Get(ctx context.Context, ns conformance.Namespace, key string) ([]byte, error) {
	r, err := c.client.NewBlockBlobClient(below(ns)+key).DownloadStream(ctx, nil)
	if err != nil {
		return nil, missing(err)
	}
	data, err := io.ReadAll(r.Body)
	return data, errors.Join(err, r.Body.Close())
}

// Delete removes a blob.
func (c Container) Delete(ctx context.Context, ns conformance.Namespace, key string) error {
	_, err := c.client.NewBlockBlobClient(below(ns)+key).Delete(ctx, nil)
	return missing(err)
}

func missing(err error) error {
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// List returns the keys below a namespace.
func (c Container) List(ctx context.Context, ns conformance.Namespace) ([]string, error) {
	return c.list(ctx, ns, container.ListBlobsInclude{})
}

// Leftovers returns the keys of blobs that have blocks and are not committed.
func (c Container) Leftovers(ctx context.Context, ns conformance.Namespace) (left []string, err error) {
	committed, err := c.List(ctx, ns)
	if err != nil {
		return nil, err
	}
	all, err := c.list(ctx, ns, container.ListBlobsInclude{UncommittedBlobs: true})
	whole := map[string]bool{}
	for _, key := range committed {
		whole[key] = true
	}
	for _, key := range all {
		if !whole[key] {
			left = append(left, key)
		}
	}
	return left, err
}

// Staged is how many bytes there are in blocks below a namespace that are not
// committed.
func (c Container) Staged(ctx context.Context, ns conformance.Namespace) (n int64, err error) {
	keys, err := c.Leftovers(ctx, ns)
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		list, err := c.client.NewBlockBlobClient(below(ns)+key).GetBlockList(ctx, blockblob.BlockListTypeUncommitted, nil)
		if err != nil && !bloberror.HasCode(err, bloberror.BlobNotFound) {
			return 0, err
		}
		for _, b := range list.UncommittedBlocks {
			n += *b.Size
		}
	}
	return n, nil
}

func (c Container) list(ctx context.Context, ns conformance.Namespace, include container.ListBlobsInclude) (all []string, err error) {
	pages := c.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: to.Ptr(below(ns)), Include: include})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Segment.BlobItems {
			all = append(all, strings.TrimPrefix(*item.Name, below(ns)))
		}
	}
	return all, nil
}
