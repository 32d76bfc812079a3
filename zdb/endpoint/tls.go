package endpoint

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/minio/sha256-simd"
)

// ErrPin means that the server's key is not the pinned one: another server, a new key,
// or someone in between. Trying again does not help.
var ErrPin = errors.New("server key is not the pinned one")

// Pin returns what tls-pin= wants for a certificate's key.
func Pin(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// tlsConfig is the TLS of zdbs.
func tlsConfig(e Endpoint) (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
	}
	var check func([]*x509.Certificate) error
	if e.TLSPin != "" {
		want, err := decodePin(e.TLSPin)
		if err != nil {
			return nil, err
		}
		// The pin takes the place of the certificate's chain, name and dates. TLS
		// itself still proves that the peer holds the key.
		config.InsecureSkipVerify = true
		check = func(certs []*x509.Certificate) error {
			if len(certs) == 0 {
				return fmt.Errorf("%w: it sent none", ErrPin)
			}
			got := sha256.Sum256(certs[0].RawSubjectPublicKeyInfo)
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				return fmt.Errorf("%w: it has %s", ErrPin, Pin(certs[0]))
			}
			return nil
		}
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if state.Version < tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
			return errors.New("the key exchange is not post-quantum")
		}
		if check != nil {
			return check(state.PeerCertificates)
		}
		return nil
	}
	return config, nil
}
