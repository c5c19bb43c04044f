export const enCluster = {
  title: 'Cluster',
}
