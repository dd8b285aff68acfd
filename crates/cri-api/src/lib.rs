//! Generated protobuf and gRPC code of the CRI v1 API
