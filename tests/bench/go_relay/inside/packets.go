// Package ssh: put into a copy of golang.org/x/crypto/ssh by the bench, because that package shows channels only,
// and a gateway that passes whole messages on, as sshpiper's fork of it does, costs less than one that ends channels.
package ssh

import (
	"errors"
	"net"
)

// Packets is a connection whose peer has logged in; what follows is read and written message by message.
type Packets struct{ c *connection }

// Read returns the next message; it is the caller's.
func (p *Packets) Read() ([]byte, error) { return p.c.transport.readPacket() }

// Write sends one message.
func (p *Packets) Write(message []byte) error { return p.c.transport.writePacket(message) }

// Close ends the connection.
func (p *Packets) Close() error { return p.c.transport.Close() }

// ServerPackets lets a client in, as NewServerConn does, and leaves what it sends afterwards to the caller.
func ServerPackets(conn net.Conn, config *ServerConfig) (*Packets, error) {
	full := *config
	full.SetDefaults()
	full.MaxAuthTries = 6
	full.PublicKeyAuthAlgorithms = defaultPubKeyAuthAlgos
	s := &connection{sshConn: sshConn{conn: conn}}
	s.serverVersion = []byte(packageVersion)
	var err error
	if s.clientVersion, err = exchangeVersions(conn, s.serverVersion); err != nil {
		return nil, err
	}
	s.transport = newServerTransport(newTransport(conn, full.Rand, false), s.clientVersion, s.serverVersion, &full)
	if err := s.transport.waitSession(); err != nil {
		return nil, err
	}
	s.sessionID = s.transport.getSessionID()
	packet, err := s.transport.readPacket()
	if err != nil {
		return nil, err
	}
	var request serviceRequestMsg
	if err := Unmarshal(packet, &request); err != nil {
		return nil, err
	}
	if request.Service != serviceUserAuth {
		return nil, errors.New("asked for " + request.Service + " before logging in")
	}
	if err := s.transport.writePacket(Marshal(&serviceAcceptMsg{Service: serviceUserAuth})); err != nil {
		return nil, err
	}
	if _, err := s.serverAuthenticate(&full); err != nil {
		return nil, err
	}
	return &Packets{s}, nil
}

// ClientPackets logs in to a server, as NewClientConn does, and leaves what it sends afterwards to the caller.
func ClientPackets(conn net.Conn, address string, config *ClientConfig) (*Packets, error) {
	full := *config
	full.SetDefaults()
	c := &connection{sshConn: sshConn{conn: conn, user: full.User}}
	if err := c.clientHandshake(address, &full); err != nil {
		return nil, err
	}
	return &Packets{c}, nil
}
