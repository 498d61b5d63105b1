package fault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// A Defect is what is wrong with a certificate.
type Defect string

// The defects. One who trusts the CA of an identity finds no other in it.
const (
	Sound      Defect = ""
	Expired    Defect = "expired"
	WrongHost  Defect = "wrong host"
	SelfSigned Defect = "self-signed" // and in no CA's name
)

// An Identity is what a server shows of itself.
type Identity struct {
	TLS *tls.Config // of the server
	CA  []byte      // PEM of the certificate of its CA
}

// NewIdentity makes a CA, and a certificate for 127.0.0.1 and localhost with one
// defect.
func NewIdentity(defect Defect, now time.Time) (Identity, error) {
	root, err := newCertificate(template("offsite test CA", now, true), nil)
	if err != nil {
		return Identity{}, err
	}
	leaf, signer := template("127.0.0.1", now, false), &root
	leaf.DNSNames, leaf.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	switch defect {
	case Expired:
		leaf.NotBefore, leaf.NotAfter = now.Add(-48*time.Hour), now.Add(-24*time.Hour)
	case WrongHost:
		leaf.DNSNames, leaf.IPAddresses = []string{"elsewhere.invalid"}, nil
	case SelfSigned:
		signer = nil
	}
	shown, err := newCertificate(leaf, signer)
	if err != nil {
		return Identity{}, err
	}
	return Identity{
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{shown}},
		CA:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate[0]}),
	}, nil
}

func template(name string, now time.Time, ca bool) *x509.Certificate {
	c := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		NotAfter: now.Add(24 * time.Hour), NotBefore: now.Add(-24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: ca,
	}
	if ca {
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, nil
	}
	return c
}

// newCertificate signs with its own key where there is no signer.
func newCertificate(c *x509.Certificate, signer *tls.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100)); err != nil {
		return tls.Certificate{}, err
	}
	parent, by := c, any(key)
	if signer != nil {
		parent, by = signer.Leaf, signer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
